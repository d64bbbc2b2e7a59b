"""How long it takes to find out that nothing of a generation is left to do.

    python -m benchmarks.resume [--rows 1000000] [--models 1] [--characters 200]

A store is made with an answer of each model to every row: instructions and prompts by their stages
from a file, the answers committed as cells in large segments, nothing asked. Then, in a process
each and through the core as a flow's tasks call it, without Prefect:

- killed: there is no table of the answers, as when a run was killed at its very end. The saved keys
  of the cells are read and every answer is looked up. What follows the decision, the table, is told
  apart, for the first model.
- finished: the table of the first model is there too.
- lost: a segment of each model was removed; as many answers are found to be missing as it had.

100,000,000 cells: `--rows 10000000 --models 10 --characters 20` (the length of the answers is
nothing that the decision reads). Imports are told apart. The files were just written, so they come
from memory, not from a disk.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.generation import child, config_of, write_rows
from benchmarks.measure import machine, peak_gib
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning.missing_work import answering, without_missing
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.crowd import responses
from crowdselect_core.stages.crowd.answer_texts import open_cells
from crowdselect_core.stages.crowd.wanted import wanted
from crowdselect_core.stages.graph import INSTRUCTIONS, PROMPTS, RESPONSES
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import as_bytes, column_keys

SEGMENT = 50_000  # rows of a commit
WORDS = 5_000  # different words of the answers: they compress as text does
TARGET = 30.0  # seconds
CASES = ("killed", "finished", "lost")
NOWHERE = "http://127.0.0.1:9/v1"  # never asked


def config_for(folder: Path, models: int) -> SelectConfig:
    """Return a config of some models behind an endpoint that is never asked."""
    one = config_of(folder, NOWHERE).model_dump(mode="json", exclude_unset=True)
    one["crowd"] = [{**one["crowd"][0], "name": f"model-{n}", "size": n + 1} for n in range(models)]
    return SelectConfig.model_validate(one).resolved(scores=False)


def make(folder: Path, rows: int, models: int, characters: int) -> dict[str, Any]:
    """Write the data set and a store that has every answer, but no table of them."""
    write_rows(folder / "data.jsonl", rows)
    config = config_for(folder, models)
    own, store, rng = without_missing(config, answering(config)), Store(config.store), _rng()
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = pl.Series(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(WORDS)])
    count = max(1, round(characters / (words.str.len_chars().mean() + 1)))  # type: ignore[operator]
    run = InProcess(store)
    p = run(PROMPTS, own, run(INSTRUCTIONS, own))
    caches = [open_cells(store, model) for model in config.everyone]
    written = 0
    for prompts in p.open(store).frames(["prompt"]):
        for part in prompts.iter_slices(SEGMENT):
            keys = responses.sample_keys(column_keys(part["prompt"]), 0)
            texts = words.gather(rng.integers(WORDS, size=part.height * count))
            lists = texts.reshape((part.height, count)).arr.to_list()
            frame = pl.DataFrame({"key": as_bytes(keys), "text": lists.list.join(" ")})
            frame = frame.with_columns(
                pl.lit(None, pl.String).alias("reasoning"), pl.lit("stop").alias("finish_reason"),
                pl.lit(9, pl.Int64).alias("prompt_tokens"),
                pl.lit(count, pl.Int64).alias("completion_tokens"),
                pl.lit(None, pl.String).alias("error"),
            )  # fmt: skip
            for cells in caches:
                cells.commit_frame(frame)
                cells.merge()
        written += prompts.height
    if written != rows:
        raise SystemExit(f"{written} prompts were found for {rows} rows")
    files = [*Path(config.store).glob("generated/*/cells-*.parquet")]
    saved = [*Path(config.store).glob("generated/*/index-*.keys")]
    size = sum(file.stat().st_size for file in files) / 2**20
    keys_size = sum(file.stat().st_size for file in saved) / 2**20
    return {"segments": len(files), "size": size, "saved": len(saved), "keys": keys_size}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def lose(folder: Path, models: int) -> int:
    """Remove a segment of each model; return how many answers of a model that are."""
    for cells in sorted((folder / "store" / "generated").iterdir()):
        lost = sorted(cells.glob("cells-*.parquet"))[0]
        rows = pq.ParquetFile(lost).metadata.num_rows
        lost.unlink()
    return int(rows)


def decide(folder: Path, case: str, rows: int, models: int) -> dict[str, Any]:
    """Find out what is left for each model; where there is no table yet, lay the first one out."""
    lost = lose(folder, models) if case == "lost" else 0
    started, cpu = time.perf_counter(), time.process_time()
    config = config_for(folder, models)
    own = without_missing(config, answering(config))
    store = Store(config.store)
    run = InProcess(store)
    p = run(PROMPTS, own, run(INSTRUCTIONS, own))
    told: dict[str, Any] = {"inputs": time.perf_counter() - started}
    first = config.everyone[0]
    if (store.find(RESPONSES.spec(own, p, first)) is None) != (case == "killed"):
        raise SystemExit(f"{case}: the table of the answers is there, or is not")
    for model in config.everyone[1 if case == "finished" else 0 :]:
        want, cells = wanted(store, p, model.sampling.n), open_cells(store, model)
        cells.refresh()
        missing, shards = want.lacking(cells)
        if missing != lost or len(want) != rows:
            raise SystemExit(f"{missing} answers of {len(want)} are missing, expected {lost}")
        told["shards"] = len(shards)
    told |= {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    told["peak"] = peak_gib()
    decided = time.perf_counter()
    if case == "killed":
        run(RESPONSES, own, p, first)
        told |= {"table": time.perf_counter() - decided, "peak_table": peak_gib()}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=1)
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--target", type=float, default=TARGET, help="seconds")
    parser.add_argument("--run", choices=["make", *CASES], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run == "make":
        print(json.dumps(make(args.folder, args.rows, args.models, args.characters)))
    elif args.run:
        print(json.dumps(decide(args.folder, args.run, args.rows, args.models)))
    else:
        print(machine("polars"))
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), args)


def compare(folder: Path, args: argparse.Namespace) -> None:
    """Make the store, then print what each case takes."""
    more = ["--models", str(args.models), "--characters", str(args.characters)]
    made = child("benchmarks.resume", "make", folder, args.rows, *more)
    print(
        f"{args.rows:,} rows x {args.models} models, answers of about {args.characters} characters "
        f"in {made['segments']} segments, {made['size']:,.0f} MiB; their keys in {made['saved']} "
        f"files, {made['keys']:,.0f} MiB",
        flush=True,
    )
    for case in CASES:
        started = time.perf_counter()
        told = child("benchmarks.resume", case, folder, args.rows, *more)
        start = time.perf_counter() - started - told["seconds"] - told.get("table", 0.0)
        verdict = "kept" if told["seconds"] <= args.target else "MISSED"
        print(
            f"  {case}: decided after {told['seconds']:.2f} s, {told['cpu']:.2f} s of CPU (target "
            f"{args.target:.0f} s: {verdict}), {told['inputs']:.2f} s of it to find instructions "
            f"and prompts; peak {told['peak']:.2f} GiB; start of Python {start:.2f} s beside that",
            flush=True,
        )
        if "table" in told:
            print(f"    one table then: {told['table']:.2f} s, peak {told['peak_table']:.2f} GiB")


if __name__ == "__main__":
    main()
