"""Seconds and bytes of OUT/report.html, and how long a browser takes to show it.

    python -m benchmarks.report [--rows 240 100000]

The page of a synthetic zoo of 19 models: instructions and answers of about 60 and 600 characters of
words, uuid ids, a vector column. Making the store is not counted, reading the texts is.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.report.page import writing
from crowdselect_core.report.summary import summarise
from crowdselect_core.stages.base import InProcess
from crowdselect_core.store.artifacts import Store
from flows.select import chosen

REWARDS = ("reward-a", "reward-b")
BLOCK = 5_000
WORDS = 3_000


def make_zoo(path: Path, rows: int, width: int) -> None:
    """Write a zoo of the paper's crowd with texts of random words and two reward models."""
    crowd = read_crowd("paper").crowd
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnoprstuvw"))
    words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)]
    centers = rng.normal(size=(10, width)).astype(np.float32)
    writer = None
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        topic = rng.integers(10, size=n)
        vectors = centers[topic] + rng.normal(0, 0.7, (n, width))
        columns: dict[str, pa.Array] = {
            "uuid": pa.array([rng.bytes(16).hex() for _ in range(n)]),
            "instruction": pa.array(_texts(rng, words, n, 10)),
            "vector": pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.astype(np.float32).ravel()), width
            ),
        }
        for model in crowd:
            scores = [pa.array(rng.normal(size=n)) for _ in REWARDS]
            text = pa.array(_texts(rng, words, n, 100))
            columns[model.name] = pa.StructArray.from_arrays([text, *scores], ["content", *REWARDS])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _texts(rng: np.random.Generator, words: list[str], n: int, length: int) -> list[str]:
    drawn = (rng.zipf(1.3, size=(n, length)) % WORDS).tolist()
    return [" ".join(words[w] for w in row) for row in drawn]


def configured(folder: Path, rows: int) -> SelectConfig:
    """Return the config of the run."""
    return SelectConfig(
        dataset={"path": str(folder / "zoo.parquet")},  # type: ignore[arg-type]  # pydantic reads it
        crowd="paper",
        reward_models=list(REWARDS),
        embedder="column:vector",  # type: ignore[arg-type]
        budget=min(1000, rows // 6),
        store=str(folder / "store"),
        out=str(folder / "out"),
    ).resolved()


def fill(folder: Path, rows: int) -> None:
    """Run the selection, in the process."""
    config = configured(folder, rows)
    store = Store(config.store)
    inputs = chosen(config, run=InProcess(store)).inputs
    table = ExplainedRows(config, store, inputs)
    summary = summarise(config, store, inputs, table)
    wanted = selection_files.spec(config, inputs)
    selection_files.write(config, store, inputs, wanted, table, summary)


def measure(folder: Path, rows: int) -> None:
    """Write the page and print what it took."""
    found = writing.selected(str(folder / "out"))
    started, cpu = time.perf_counter(), time.process_time()
    made = writing.write(found.config, Store(found.config.store), found.inputs)
    assert made is not None
    seconds, used = time.perf_counter() - started, time.process_time() - cpu
    started = time.perf_counter()
    assert writing.find(found.config, found.inputs) is not None
    again = time.perf_counter() - started
    size = made["files"]["report.html"]["bytes"]
    print(
        f"{rows:>9,} rows: {seconds:.2f} s ({used:.2f} s CPU), {size / 1e6:.2f} MB, peak "
        f"{peak_gib():.2f} GiB; found again in {again:.3f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[240, 100_000])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--folder", type=Path, help="kept; the pages lie in FOLDER/ROWS/out")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        measure(args.run, args.rows[0])
        return
    print(machine("polars", "bokeh"))
    print(f"19 models, 2 reward models, vectors of width {args.width}; limits: 1 s and 20 s, 5 MB")
    with tempfile.TemporaryDirectory() as temporary:
        for rows in args.rows:
            folder = (args.folder or Path(temporary)) / str(rows)
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "out/manifest.json").exists():
                make_zoo(folder / "zoo.parquet", rows, args.width)
                fill(folder, rows)
            command = [sys.executable, "-m", "benchmarks.report", "--run", str(folder)]
            subprocess.run([*command, "--rows", str(rows)], check=True)


if __name__ == "__main__":
    main()
