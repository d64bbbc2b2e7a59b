"""How much of a bare client's speed the judging of an evaluation keeps.

    python -m benchmarks.judging [--verdicts 2000] [--rounds 3] [--seconds 0.25]

The test endpoint (no model), in a process of its own, takes a while for each verdict, as a judge
does. It is asked for as many verdicts, 32 requests in flight: by a bare loop of the same client,
which is given a list of requests and only counts what comes back, and by the core as a flow's task
calls it, without Prefect: stored verdicts are looked up, the missing ones asked for and committed,
all of them read again. Both in turn, each in a process of its own with a fresh endpoint and store;
imports are not counted. `--seconds 0` measures what the client and the library cost by themselves;
where others use the machine, trust the ratio of the CPU times.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.generation import child, endpoint, no_report, no_secret, text
from benchmarks.measure import machine, peak_gib, spread
from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import JudgeConfig
from crowdselect_core.evaluate.judging.judge import Judge, judge_engine
from crowdselect_core.evaluate.live import Report, Tools
from crowdselect_core.generate.base import Answer, Request
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.key_index import cell_key

CONCURRENCY = 32
TARGET = 0.95  # of the bare loop's verdicts a second
ANSWER = "The answer is a stone bridge over a river, which old maps show. " * 8


def judge_config(url: str) -> JudgeConfig:
    """Return a judge behind the endpoint."""
    engine = {"kind": "openai", "base_url": url, "model": "judge", "concurrency": CONCURRENCY}
    return JudgeConfig.model_validate({"name": "judge", "engine": engine})


def prompt(number: int) -> tuple[Message, ...]:
    """Return what the judge is asked: a question and two answers."""
    words = f"{text(number)}\n\n[A]\n{ANSWER}\n\n[B]\n{ANSWER}{number}"
    return (Message(role="user", content=words),)


def bare(folder: Path, url: str, verdicts: int) -> dict[str, Any]:
    """Ask for the verdicts by the client alone."""
    engine = judge_engine(judge_config(url), no_secret)
    asked = [Request(cell_key(str(n).encode()), prompt(n)) for n in range(verdicts)]
    answered = 0

    def done(answer: Answer) -> None:
        nonlocal answered
        answered += answer.error is None

    began, started = time.process_time(), time.perf_counter()
    engine.run(iter(asked), done)
    ended = time.perf_counter()
    return {"seconds": ended - started, "cpu": time.process_time() - began, "answered": answered}


def ours(folder: Path, url: str, verdicts: int) -> dict[str, Any]:
    """Ask for the verdicts as a benchmark's task does."""

    @contextmanager
    def shown(step: str, name: str) -> Iterator[Report]:
        yield no_report

    tools = Tools(
        config=EvaluateConfig(store=str(folder / "store")),
        store=Store(str(folder / "store")),
        secret=no_secret,
        lent=lambda engine, name: nullcontext([]),
        shown=shown,
        stopped=lambda: False,
        check=lambda: None,
    )
    prompts = [prompt(n) for n in range(verdicts)]
    began, started = time.process_time(), time.perf_counter()
    found = Judge(judge_config(url), tools).verdicts(prompts, "benchmark")
    ended = time.perf_counter()
    answered = sum(verdict.words is not None for verdict in found)
    return {"seconds": ended - started, "cpu": time.process_time() - began, "answered": answered}


def measure(way: str, verdicts: int, seconds: float) -> dict[str, Any]:
    """Run one way in a process of its own, with a store and an endpoint of its own."""
    with (
        tempfile.TemporaryDirectory() as name,
        endpoint("--delay", str(round(seconds * 1e3))) as url,
    ):
        told = child("benchmarks.judging", way, Path(name), verdicts, "--url", url)
        with urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as reply:  # noqa: S310 - ours
            requests = json.load(reply)["requests"]
    if told["answered"] != verdicts or requests != verdicts:
        raise SystemExit(f"{way}: {told['answered']} verdicts of {requests} requests")
    return told


def compare(verdicts: int, rounds: int, seconds: float) -> None:
    """Measure both ways in turn and print them beside each other."""
    pairs = [
        (measure("bare", verdicts, seconds), measure("ours", verdicts, seconds))
        for _ in range(rounds)
    ]
    ways = list(zip(*pairs, strict=True))
    rates = [[verdicts / told["seconds"] for told in way] for way in ways]
    costs = [statistics.median(t["cpu"] / verdicts * 1e3 for t in way) for way in ways]
    ratio = statistics.median(ours / bare for bare, ours in zip(*rates, strict=True))
    print(f"{verdicts:,} verdicts, {seconds:g} s each, {rounds} round(s)")
    for way, rate, cost, told in zip(("bare", "ours"), rates, costs, ways, strict=True):
        peak = max(one["peak"] for one in told)
        print(f"  {way}: {spread(rate)} verdicts/s, {cost:.2f} ms CPU each, peak {peak:.2f} GiB")
    verdict = "kept" if ratio >= TARGET else "MISSED"
    print(
        f"  ours / bare: {ratio:.2f}, median of the rounds (target {TARGET:.2f}: {verdict}); "
        f"verdicts a CPU second {costs[0] / costs[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.25, help="that the endpoint takes")
    parser.add_argument("--run", choices=["bare", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        told = (bare if args.run == "bare" else ours)(args.folder, args.url, args.rows)
        print(json.dumps(told | {"peak": peak_gib()}))
        return
    print(machine("aiohttp", "polars"))
    print(f"{CONCURRENCY} requests in flight; the core without Prefect")
    compare(args.verdicts, args.rounds, args.seconds)


if __name__ == "__main__":
    main()
