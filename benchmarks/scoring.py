"""How fast a sequence classifier scores answers of very different lengths.

    python -m benchmarks.scoring [--zoo FILE.parquet]

Real answers (three models spread over a zoo, to instructions spread over it), scored in float32 by
a Llama classifier: the first layers of SmolLM2-135M, all of them with --layers 30, and a random
head. Beside each other, in turn, the same pairs in the same run: `ClassifierScorer`'s batches,
sorted by length under a budget of padded tokens, and batches in order of arrival with as many rows
as the budget allows for the longest pair, which is what a fixed batch size must allow for. So both
take the same memory. Then, without a model, how much each way pads on every answer of those models,
at several budgets: the smaller the budget, the fewer rows stand beside each other and pad.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from benchmarks.measure import machine, peak_gib, spread
from crowdselect_core.chat import Message
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.models.batching import by_length
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.reward.classifier.inputs import Pair
from crowdselect_core.reward.classifier.scorer import ClassifierScorer
from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer

MODELS, ROWS, ROUNDS = 3, 80, 3  # ROWS instructions of each model
LAYERS = 2  # of 30
BATCH_TOKENS, MAX_LENGTH = 32_768, 2048
BUDGETS = (8192, 16384, 32768)
ZOO = Path("../shared/data/alpaca_zoo/zoo.parquet")


def write_classifier(folder: Path, layers: int) -> None:
    """Turn the first layers of SmolLM2 into a classifier with a random head."""
    gguf = find_gguf()
    language_model = load_model(gguf, torch.float32)
    tokenizer = load_tokenizer(gguf)
    config = LlamaConfig(
        **{
            **language_model.config.to_dict(),
            "num_hidden_layers": layers,
            "layer_types": None,
            "id2label": {0: "reward"},
            "label2id": {"reward": 0},
            "pad_token_id": tokenizer.pad_token_id,
        }
    )
    torch.manual_seed(0)
    classifier = LlamaForSequenceClassification(config)
    classifier.model.load_state_dict(language_model.model.state_dict(), strict=False)
    classifier.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def pairs(zoo: Path, rows: int | None) -> list[Item]:
    """Take the answers of models spread over the zoo to instructions spread over it, or to all."""
    table = pl.read_parquet(zoo)
    names = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Struct)]
    names = names[:: len(names) // MODELS][:MODELS]
    if rows is not None:
        table = table.gather_every(max(1, table.height // rows)).head(rows)
    items = []
    for instruction, *answers in table.select("instruction", *names).iter_rows():
        for answer in answers:
            key = len(items).to_bytes(16, "big")
            if answer["content"]:
                message = Message(role="user", content=instruction)
                items.append(Item(key, (message,), answer["content"]))
    return items


def arrival(scorer: ClassifierScorer, items: list[Item], rows: int) -> None:
    """Score in order of arrival, so many rows at a time."""
    encoded = [scorer.encode(item) for item in items]
    ids = [pair.ids for pair in encoded if isinstance(pair, Pair)]
    for start in range(0, len(ids), rows):
        scorer.score_ids(ids[start : start + rows])


def lengths_of(scorer: ClassifierScorer, items: list[Item]) -> list[int]:
    """Count the tokens of every pair."""
    return [len(pair.ids) for pair in map(scorer.encode, items) if isinstance(pair, Pair)]


def padded(lengths: list[int], budget: int) -> tuple[float, float]:
    """Return padded tokens for each real one: sorted by length, and as they arrive."""
    rows = max(1, budget // max(lengths))
    ours = [[lengths[i] for i in batch] for batch in by_length(lengths, tokens=budget)]
    theirs = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
    sizes = [sum(len(batch) * max(batch) for batch in way) for way in (ours, theirs)]
    return sizes[0] / sum(lengths), sizes[1] / sum(lengths)


def padding(scorer: ClassifierScorer, items: list[Item]) -> None:
    """Print how much each way pads on all pairs, at several budgets."""
    lengths = lengths_of(scorer, items)
    for budget in BUDGETS:
        ours, theirs = padded(lengths, budget)
        print(
            f"padding, {len(lengths):,} pairs, {budget} tokens a batch: {ours:.2f} tokens for each "
            f"real one sorted, {theirs:.2f} as they arrive; ratio {theirs / ours:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zoo", type=Path, default=ZOO, help="parquet file in the zoo format")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of SmolLM2's 30")
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, help="padded, a batch")
    args = parser.parse_args()
    print(machine("torch", "transformers"), f"{torch.get_num_threads()} threads", flush=True)
    items = pairs(args.zoo, ROWS)
    with tempfile.TemporaryDirectory() as folder:
        write_classifier(Path(folder), args.layers)
        scorer = ClassifierScorer(
            ClassifierReward(
                kind="classifier", name="scoring", model=folder, max_length=MAX_LENGTH,
                dtype="float32", batch_tokens=args.batch_tokens,
            )
        )  # fmt: skip
        compare(scorer, items, args.batch_tokens)
        padding(scorer, pairs(args.zoo, None))


def compare(scorer: ClassifierScorer, items: list[Item], budget: int) -> None:
    """Print rows a second of both ways, and the padding of each."""
    lengths = lengths_of(scorer, items)
    rows = max(1, budget // max(lengths))
    kept: list[Score] = []
    ways: dict[str, Callable[[], None]] = {
        "sorted by length": lambda: scorer.run(iter(items), kept.append),
        f"as they arrive, {rows} rows": lambda: arrival(scorer, items, rows),
    }
    scorer.score_ids([[1] * 64])  # loads the model, not counted
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            rates[name].append(len(items) / (time.perf_counter() - started))
    print(
        f"{len(items)} pairs of {min(lengths)} to {max(lengths)} tokens (median "
        f"{statistics.median(lengths):.0f}), {budget} padded tokens a batch, {ROUNDS} rounds"
    )
    for (name, rate), share in zip(rates.items(), padded(lengths, budget), strict=True):
        print(f"  {name}: {spread(rate)} pairs/s, {share:.2f} tokens for each real one")
    ours, theirs = (statistics.median(rate) for rate in rates.values())
    print(f"  ratio {ours / theirs:.2f}; peak {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
