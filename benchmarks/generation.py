"""How much of a bare client's speed a whole generation keeps, and how much memory it takes.

    python -m benchmarks.generation [--rows 10000 100000] [--rounds 3]

The test endpoint (no model: its answers cost a hash), in a process of its own, is asked for one
answer to every row, 32 requests in flight: by a bare loop of the same client, which is given a
list of requests and only counts what comes back, and by the core as a flow's tasks call it, without
Prefect: the instructions are read, the prompts named, the answers asked for and committed, the
table of the answers laid out. Both in turn, each in a process of its own with a fresh endpoint;
imports are not counted. An endpoint this quick leaves the client nothing to wait for, so that the
ratio is the worst case: a real model hides what the library does beside asking. Where others use
the machine, trust the ratio of the CPU times.

The sizes above the smallest are measured once. 1,000,000 rows: `--rows 1000000`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.measure import machine, peak_gib, spread
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.base import Answer, Request
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.factory import engine_of
from crowdselect_core.generate.openai.engine import OpenAIEngine
from crowdselect_core.planning.missing_work import answering, without_missing
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.crowd import generation
from crowdselect_core.stages.graph import INSTRUCTIONS, PROMPTS, RESPONSES
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import cell_key

CONCURRENCY = 32
TARGET = 0.70  # of the bare loop's rows a second
TOPICS = ("a river", "the moon", "good bread", "old maps", "a stone bridge", "tax law")


def text(row: int) -> str:
    """Return the instruction of a row."""
    return f"Say {row} words about {TOPICS[row % len(TOPICS)]}, in plain English."


def write_rows(path: Path, rows: int) -> None:
    """Write the instructions one by one, so that this process stays small."""
    with path.open("w", encoding="utf-8") as file:
        for row in range(rows):
            file.write(json.dumps({"instruction": text(row)}) + "\n")


def config_of(folder: Path, url: str) -> SelectConfig:
    """Return a config of one model behind an endpoint; its store and data are in the folder."""
    engine = {"kind": "openai", "base_url": url, "concurrency": CONCURRENCY}
    return SelectConfig.model_validate(
        {
            "dataset": str(folder / "data.jsonl"),
            "crowd": [{"name": "model", "family": "f", "size": 1, "engine": engine}],
            "store": str(folder / "store"),
        }
    ).resolved(scores=False)


def no_secret(block: str) -> str:
    """Stand for the secrets that no engine here asks for."""
    raise KeyError(block)


@contextmanager
def endpoint(*flags: str) -> Iterator[str]:
    """Run the test endpoint in a process of its own; yield its URL."""
    command = [sys.executable, "-m", "crowdselect_core.testing.faulty_endpoint", "--port", "0"]
    command += flags
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


def bare(folder: Path, url: str, rows: int) -> dict[str, Any]:
    """Answer a list of requests with the client alone."""
    (model,) = config_of(folder, url).everyone
    engine = engine_of(model, no_secret)
    assert isinstance(engine, OpenAIEngine)
    asked = [
        Request(cell_key(text(row).encode()), ({"role": "user", "content": text(row)},), 0)
        for row in range(rows)
    ]
    answered = 0

    def done(answer: Answer) -> None:
        nonlocal answered
        answered += answer.error is None

    began, started = time.process_time(), time.perf_counter()
    engine.run(iter(asked), done)
    ended = time.perf_counter()
    return {"seconds": ended - started, "cpu": time.process_time() - began, "answered": answered}


def ours(folder: Path, url: str, rows: int) -> dict[str, Any]:
    """Generate from the file of instructions to the table of the answers."""
    config = config_of(folder, url)
    own, (model,) = without_missing(config, answering(config)), config.everyone
    engine = engine_of(model, no_secret)
    store = Store(config.store)
    run = InProcess(store)
    parts: dict[str, float] = {}
    began = time.process_time()

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        parts[part] = time.perf_counter() - started

    with timed("instructions"):
        i = run(INSTRUCTIONS, own)
    with timed("prompts"):
        p = run(PROMPTS, own, i)
    with timed("answers"):
        calls = generation.generate(own, store, p, model, engine, no_report)
    with timed("table"):
        table = run(RESPONSES, own, p, model, calls.failed)
    cpu = time.process_time() - began
    answered = table.counts["answers"]
    return {"seconds": sum(parts.values()), "cpu": cpu, "answered": answered, "parts": parts}


def no_report(calls: CallTracker) -> None:
    """Tell nobody: the tasks show progress from a thread of their own."""


def measure(way: str, data: Path, rows: int) -> dict[str, Any]:
    """Run one way in a process of its own, with a store and an endpoint of its own."""
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        folder = Path(name)
        (folder / "data.jsonl").symlink_to(data)
        told = child("benchmarks.generation", way, folder, rows, "--url", url)
        with urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as reply:  # noqa: S310 - ours
            requests = json.load(reply)["requests"]
    if told["answered"] != rows or requests != rows:
        raise SystemExit(f"{way}: {told['answered']} answers of {requests} requests, {rows} rows")
    return told


def child(module: str, way: str, folder: Path, rows: int, *more: str) -> dict[str, Any]:
    """Run one part of a benchmark in a fresh process and return what it tells on its last line."""
    command = [sys.executable, "-m", module, "--run", way, "--folder", str(folder)]
    ended = subprocess.run(
        [*command, "--rows", str(rows), *more], check=True, stdout=subprocess.PIPE, text=True
    )
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def compare(rows: int, rounds: int) -> None:
    """Measure both ways in turn and print them beside each other."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data.jsonl"
        write_rows(data, rows)
        pairs = [(measure("bare", data, rows), measure("ours", data, rows)) for _ in range(rounds)]
    rates = [[rows / told["seconds"] for told in way] for way in zip(*pairs, strict=True)]
    ratio = statistics.median(rates[1]) / statistics.median(rates[0])
    peaks = [max(told["peak"] for told in way) for way in zip(*pairs, strict=True)]
    costs = [statistics.median(t["cpu"] / rows * 1e3 for t in w) for w in zip(*pairs, strict=True)]
    print(f"{rows:,} rows, {rounds} round(s)")
    for way, rate, cost, peak in zip(("bare", "ours"), rates, costs, peaks, strict=True):
        print(f"  {way}: {spread(rate)} rows/s, {cost:.2f} ms CPU a row, peak {peak:.2f} GiB")
    last = pairs[-1][1]["parts"]
    print("  ours, the last: " + ", ".join(f"{part} {s:.1f} s" for part, s in last.items()))
    verdict = "kept" if ratio >= TARGET else "MISSED"
    print(
        f"  ours / bare: {ratio:.2f} (target {TARGET:.2f}: {verdict}); rows a CPU second "
        f"{costs[0] / costs[1]:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3, help="of the smallest size")
    parser.add_argument("--run", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        told = (bare if args.run == "bare" else ours)(args.folder, args.url, args.rows[0])
        print(json.dumps(told | {"peak": peak_gib()}))
        return
    print(machine("aiohttp", "polars"))
    print(f"{CONCURRENCY} requests in flight; the core without Prefect")
    for rows in args.rows:
        compare(rows, args.rounds if rows == min(args.rows) else 1)


if __name__ == "__main__":
    main()
