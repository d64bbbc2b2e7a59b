"""How long it takes to find out that nothing of a generation is left to do.

    python -m benchmarks.resume [--rows 1000000]

A store is made with an answer of about 200 characters to every row: instructions and prompts by
their stages from a file, the answers committed as cells in large segments, nothing asked. Then, in
a process each and through the core as a flow's tasks call it, without Prefect:

- killed: there is no table of the answers, as when a run was killed at its very end. The index of
  the cells is read and every prompt looked up. What follows the decision, the table, is told apart.
- finished: the table is there too.

Imports are told apart. The files were just written, so they come from memory, not from a disk.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.generation import child, config_of, no_report, no_secret, write_rows
from benchmarks.measure import machine, peak_gib
from crowdselect_core.generate.factory import engine_of
from crowdselect_core.planning.missing_work import answering, without_missing
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.crowd import generation, responses
from crowdselect_core.stages.crowd.answer_texts import open_cells
from crowdselect_core.stages.graph import INSTRUCTIONS, PROMPTS, RESPONSES
from crowdselect_core.store.artifacts import Store

SEGMENT = 50_000  # rows of a commit
WORDS, LENGTH = 5_000, 200  # different words, characters of an answer: compresses as text does
TARGET = 30.0  # seconds
NOWHERE = "http://127.0.0.1:9/v1"  # never asked


def make(folder: Path, rows: int) -> dict[str, Any]:
    """Write the data set and a store that has an answer to every row, but no table of them."""
    write_rows(folder / "data.jsonl", rows)
    config = config_of(folder, NOWHERE)
    own, (model,) = without_missing(config, answering(config)), config.everyone
    store, noise = Store(config.store), random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(noise.choices(letters, k=noise.randint(2, 9))) for _ in range(WORDS)]
    count = round(LENGTH / statistics.mean(len(word) + 1 for word in words))
    run = InProcess(store)
    p = run(PROMPTS, own, run(INSTRUCTIONS, own))
    cells, written, characters = open_cells(store, model), 0, 0
    for frame in p.open(store).frames(["prompt"]):
        for part in frame.iter_slices(SEGMENT):
            texts = [" ".join(noise.choices(words, k=count)) for _ in range(part.height)]
            keys = [responses.sample_key(prompt, 0) for prompt in part["prompt"].to_list()]
            cells.commit(
                [
                    (key, text, None, "stop", 9, count, None)
                    for key, text in zip(keys, texts, strict=True)
                ]
            )
            written += part.height
            characters += sum(map(len, texts))
    if written != rows:
        raise SystemExit(f"{written} prompts were found for {rows} rows")
    segments = list(Path(config.store).glob("generated/*/cells-*.parquet"))
    size = sum(segment.stat().st_size for segment in segments) / 2**20
    return {"characters": characters / rows, "segments": len(segments), "size": size}


def decide(folder: Path, *, finished: bool) -> dict[str, Any]:
    """Find out that nothing is left; where there is no table yet, lay it out then."""
    started = time.perf_counter()
    config = config_of(folder, NOWHERE)
    own, (model,) = without_missing(config, answering(config)), config.everyone
    store = Store(config.store)
    run = InProcess(store)
    p = run(PROMPTS, own, run(INSTRUCTIONS, own))
    named = time.perf_counter()
    spec = RESPONSES.spec(own, p, model)
    if (store.find(spec) is not None) != finished:
        raise SystemExit(f"the table of the answers is {'absent' if finished else 'there'}")
    told: dict[str, Any] = {"inputs": named - started}
    if not finished:
        calls = generation.generate(own, store, p, model, engine_of(model, no_secret), no_report)
        if calls.planned:
            raise SystemExit(f"{calls.planned} rows are left, expected none")
        told["present"] = calls.cached
    decided = time.perf_counter()
    told |= {"seconds": decided - started, "peak": peak_gib()}
    if not finished:
        run(RESPONSES, own, p, model)
        told |= {"table": time.perf_counter() - decided, "peak_table": peak_gib()}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--run", choices=["make", "killed", "finished"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run == "make":
        print(json.dumps(make(args.folder, args.rows)))
    elif args.run:
        print(json.dumps(decide(args.folder, finished=args.run == "finished")))
    else:
        print(machine("polars"))
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), args.rows)


def compare(folder: Path, rows: int) -> None:
    """Make the store, then print what each case takes."""
    made = child("benchmarks.resume", "make", folder, rows)
    print(
        f"{rows:,} answers of {made['characters']:.0f} characters in {made['segments']} segments, "
        f"{made['size']:,.0f} MiB",
        flush=True,
    )
    for case in ("killed", "finished"):
        started = time.perf_counter()
        told = child("benchmarks.resume", case, folder, rows)
        whole = time.perf_counter() - started
        told["start"] = whole - told["seconds"] - told.get("table", 0.0)
        verdict = "kept" if told["seconds"] <= TARGET else "MISSED"
        print(
            f"  {case}: nothing left after {told['seconds']:.2f} s (target {TARGET:.0f} s: "
            f"{verdict}), {told['inputs']:.2f} s of it to find instructions and prompts; peak "
            f"{told['peak']:.2f} GiB; Python and imports {told['start']:.2f} s beside that",
            flush=True,
        )
        if "table" in told:
            print(f"    the table then: {told['table']:.2f} s, peak {told['peak_table']:.2f} GiB")


if __name__ == "__main__":
    main()
