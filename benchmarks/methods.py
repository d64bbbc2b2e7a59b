"""What the rival methods cost.

    python -m benchmarks.methods [--rows 100000] [--ifd]

k-center greedy: 1,000 of 100,000 x 384 on one thread. Deita's filter on 20,000 of these rows. With
--ifd: the two losses of IFD of 24 real answers by SmolLM2-135M in float32, in batches by length
beside one row at a time, by the same code. It needs ../shared/data/alpaca_zoo and the `test` extra.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.clustering import mixture
from benchmarks.measure import machine, peak_gib
from crowdselect_core.selection.methods.deita import dissimilar
from crowdselect_core.selection.methods.k_center import k_center_distances

WIDTH, PICKS, FILTERED = 384, 1_000, 20_000
ZOO = Path("../shared/data/alpaca_zoo/zoo.parquet")
MODEL, ANSWERS = "Qwen1.5-7B-Chat", 24
BATCH_TOKENS, CONTEXT = 8192, 512


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--ifd", action="store_true")
    given = parser.parse_args()
    print(machine("numpy"))
    vectors_ND = mixture(given.rows, WIDTH)
    started = time.perf_counter()
    distances_N = k_center_distances(vectors_ND, PICKS)
    seconds = time.perf_counter() - started
    assert np.isfinite(distances_N).all()
    print(f"k-center  {PICKS:,} of {given.rows:,} x {WIDTH}: {seconds:.1f} s")
    started = time.perf_counter()
    kept = int(dissimilar(vectors_ND[:FILTERED], 0.9).sum())
    seconds = time.perf_counter() - started
    print(f"deita     {FILTERED:,} x {WIDTH}: {seconds:.1f} s, {kept:,} kept")
    print(f"peak      {peak_gib():.2f} GiB")
    if given.ifd:
        ifd()


def ifd() -> None:
    """Print how long IFD takes in batches by length and one row at a time."""
    import torch

    from crowdselect_core.annotate.ifd import cherry_pair, pair_losses
    from crowdselect_core.models.chat_templates import padding_id
    from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer

    gguf = find_gguf()
    model, tokenizer = load_model(gguf, torch.float32), load_tokenizer(gguf)
    rows = pq.read_table(ZOO, columns=["instruction", MODEL]).to_pylist()[:ANSWERS]
    pairs = [
        cherry_pair(tokenizer, row["instruction"], "", row[MODEL]["content"], CONTEXT)
        for row in rows
    ]
    pad_id = padding_id(tokenizer)
    pair_losses(model, pad_id, pairs[:1], BATCH_TOKENS)  # warm
    started = time.perf_counter()
    batched = pair_losses(model, pad_id, pairs, BATCH_TOKENS)
    by_length = time.perf_counter() - started
    started = time.perf_counter()
    single = [loss for pair in pairs for loss in pair_losses(model, pad_id, [pair], 1)]
    one_by_one = time.perf_counter() - started
    worst = max(
        abs(a - b) for x, y in zip(batched, single, strict=True)
        for a, b in zip(x, y, strict=True) if a is not None and b is not None
    )  # fmt: skip
    print(machine("torch", "transformers"))
    print(f"ifd       {ANSWERS} rows, batches by length: {by_length:.1f} s")
    print(f"ifd       {ANSWERS} rows, one at a time: {one_by_one:.1f} s")
    print(f"ifd       {one_by_one / by_length:.2f} times as fast; losses differ by {worst:.1e}")


if __name__ == "__main__":
    main()
