"""Whether a process that generates for hours keeps its memory, descriptors and threads.

    python -m benchmarks.soak [--minutes 30] [--rows 20000]

The test endpoint (no model: its answers cost a hash), in a process of its own, is asked at full
rate, 32 requests in flight, through the core as a flow's tasks call it: a data set is answered
whole, then again with another seed, whose answers are other cells, until the time is up. After the
first minute and each minute from then on a line tells resident memory, open descriptors and
threads, each counted between two generations. It ends with 1 where memory has grown by more than
5 % since the first minute, or there are more descriptors or threads than then.

Within one generation the index of the cells grows by 20 bytes an answer; it is freed at its end.
"""

import argparse
import ctypes
import gc
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generation import config_of, endpoint, no_secret, write_rows
from benchmarks.measure import machine
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.factory import engine_of
from crowdselect_core.planning.missing_work import answering, without_missing
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.crowd import generation
from crowdselect_core.stages.graph import INSTRUCTIONS, PROMPTS
from crowdselect_core.store.artifacts import Store

MINUTE = 60.0  # seconds
GROWTH = 0.05  # of the memory after the first minute


@dataclass(frozen=True)
class Use:
    """What a process holds at a moment."""

    memory: float  # MiB, resident
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"


def in_use() -> Use:
    """Return what this process holds; what is free already is given back first."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    own = [Path("/proc/self") / name for name in ("fd", "task")]
    descriptors, threads = (len(list(folder.iterdir())) for folder in own)
    return Use(memory, descriptors, threads)


def seeded(config: SelectConfig, seed: int) -> SelectConfig:
    """Return the config with another seed of its model's answers."""
    told = config.model_dump(mode="json", exclude_unset=True)
    told["crowd"][0]["sampling"] = {"temperature": 1.0, "seed": seed}
    return SelectConfig.model_validate(told).resolved(scores=False)


def answer(folder: Path, url: str, seed: int) -> int:
    """Answer the data set once; return how many answers came."""
    config = seeded(config_of(folder, url), seed)
    own, (model,) = without_missing(config, answering(config)), config.everyone
    store = Store(config.store)
    run = InProcess(store)
    p = run(PROMPTS, own, run(INSTRUCTIONS, own))

    def report(calls: CallTracker) -> None:
        """Nothing is shown."""

    calls = generation.generate(own, store, p, model, engine_of(model, no_secret), report)
    shutil.rmtree(folder / "store" / "generated")
    return calls.answered


def soak(folder: Path, url: str, minutes: float) -> tuple[list[Use], int, float]:
    """Answer until the time is up; return what was in use each minute, the answers, the CPU."""
    started = time.monotonic()
    began, seen, answers, seed = time.process_time(), list[Use](), 0, 0
    while (now := time.monotonic() - started) < minutes * MINUTE or len(seen) < 2:
        answers += answer(folder, url, seed)
        seed += 1
        if time.monotonic() - started >= MINUTE * (len(seen) + 1) or now >= minutes * MINUTE:
            seen.append(in_use())
            print(f"  {(time.monotonic() - started) / MINUTE:.1f} min: {seen[-1]}", flush=True)
    return seen, answers, time.process_time() - began


def verdict(first: Use, last: Use) -> tuple[str, bool]:
    """Say how much more is in use than at first, and whether that is within the limits."""
    grown = last.memory / first.memory - 1
    more, threads = last.descriptors - first.descriptors, last.threads - first.threads
    good = grown <= GROWTH and more <= 0 and threads <= 0
    words = (
        f"memory {grown:+.1%} (at most {GROWTH:+.0%}), descriptors {more:+d}, threads "
        f"{threads:+d}: {'kept' if good else 'MISSED'}"
    )
    return words, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=20_000)
    args = parser.parse_args()
    print(machine("aiohttp", "polars"), flush=True)
    with tempfile.TemporaryDirectory() as name, endpoint() as url:
        write_rows(Path(name) / "data.jsonl", args.rows)
        started = time.monotonic()
        seen, answers, cpu = soak(Path(name), url, args.minutes)
        seconds = time.monotonic() - started
    words, good = verdict(seen[0], seen[-1])
    print(
        f"{answers:,} answers in {seconds / MINUTE:.1f} min, {answers / seconds:,.0f}/s, "
        f"{1000 * cpu / answers:.2f} ms of CPU each; since the first minute {words}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
