"""What the quality gates cost and find.

    python -m benchmarks.quality [near|decontamination|gates]

Prints for near-duplicates of 1,000,000 texts, and for decontamination of 100,000 rows against four
benchmarks: time, peak memory, precision and recall on what was planted. Every figure is measured in
a process of its own. Texts are random words (seed 0) with the lengths of real instructions, 8 to 40
words, of a vocabulary of 20,000 words that stand as often as Zipf's law says.

Planted near-duplicates (1 % of the texts) have one word of another text changed, left out or put
in; those whose Jaccard similarity of word 5-grams is at least 0.8 are to be found, and the others
not. Planted contamination (1 % of the rows): a whole prompt between other words, 13 to 20 words of
one, a short prompt in other case and punctuation; beside as many rows with 12 words of a prompt,
which are none.

gates: `flows.select` with both gates on alpaca_zoo (505 rows, ../shared/data) with planted rows:
copies of 40 instructions, character by character; of 40, in capitals and with other punctuation;
of 40 of at least 20 words, with a word put before the first one where that leaves a Jaccard
similarity of at least 0.8; and 40 that hold a prompt of MT-Bench, Arena-Hard or IFEval between
other words. Rows that the gates refuse without the planted ones are counted apart.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.measure import machine, peak_gib
from crowdselect_core.quality.benchmark_prompts import read_benchmarks
from crowdselect_core.quality.decontamination import overlaps
from crowdselect_core.quality.near_duplicates import near_duplicate_groups
from crowdselect_core.quality.shingles import jaccard, shingles, words

TEXTS, ROWS, VOCABULARY = 1_000_000, 100_000, 20_000
PROMPTS = (160, 500, 541, 805)  # MT-Bench's turns, Arena-Hard, IFEval, AlpacaEval
SHARE = 0.01
PLANTED = 40  # rows of each kind
DATA = Path("../shared/data")
BENCHMARKS = [str(DATA / name) for name in ("mt_bench", "arena_hard_v0.1", "ifeval")]
WORDS = [f"{a}{b}{c}" for a in "bcdfghklmnprstvw" for b in "aeiou" for c in range(250)]
WEIGHTS = list(accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))


def text(rng: random.Random, low: int = 8, high: int = 40) -> str:
    """Return random words."""
    return " ".join(rng.choices(WORDS, cum_weights=WEIGHTS, k=rng.randint(low, high)))


def changed(rng: random.Random, original: str) -> str:
    """Return a text with one word changed, left out or put in."""
    said = original.split()
    end = len(said) - 1  # a word at an end is in fewer 5-grams
    at, way = rng.choice([0, 1, end - 1, end, rng.randrange(end)]), rng.randrange(3)
    new = [] if way == 1 else [rng.choice(WORDS)]
    said[at : at + (way != 2)] = new
    return " ".join(said).upper() if rng.random() < 0.5 else f"{' '.join(said)}!"


def near(rows: int) -> None:
    """Measure near-duplicates."""
    rng = random.Random(0)
    planted = int(rows * SHARE)
    texts = [text(rng) for _ in range(rows - planted)]
    pairs = [(rng.randrange(len(texts)), len(texts) + i) for i in range(planted)]
    texts += [changed(rng, texts[one]) for one, _ in pairs]

    def shingled(place: int) -> set[str]:
        return shingles(words(texts[place]))

    expected = {b for a, b in pairs if jaccard(shingled(a), shingled(b)) >= 0.8}
    groups, told = timed(lambda: near_duplicate_groups(texts))
    found = {b for a, b in pairs if groups[a] == groups[b]}
    others = int(np.count_nonzero(groups != np.arange(rows))) - len(found)
    print(
        f"near-duplicates of {rows:,} texts: {told}; {len(expected):,} planted at Jaccard 0.8: "
        f"{scores(found, expected)}; {others} further rows in groups"
    )


def decontamination(rows: int) -> None:
    """Measure decontamination."""
    rng = random.Random(0)
    prompts = [text(rng, 4, 80) for _ in range(sum(PROMPTS))]
    long = [p for p in prompts if len(p.split()) >= 20]
    short = [p for p in prompts if len(p.split()) < 8]
    texts = [text(rng) for _ in range(rows)]
    places = rng.sample(range(rows), 2 * int(rows * SHARE))
    expected = set(places[::2])
    for number, place in enumerate(places):
        said = rng.choice(long).split()
        if place not in expected:
            start = rng.randrange(len(said) - 12)
            texts[place] += f" but {' '.join(said[start : start + 12])} and {text(rng, 3, 9)}"
        elif number % 6 == 0:
            texts[place] = f"{text(rng, 3, 9)}: {' '.join(said)}. {text(rng, 3, 9)}"
        elif number % 6 == 2:
            start = rng.randrange(len(said) - 19)
            texts[place] += f" {' '.join(said[start : start + rng.randint(13, 20)])} ."
        else:
            texts[place] = f"{rng.choice(short).title()}?"
    found, told = timed(lambda: {match.text for match in overlaps(texts, prompts)})
    print(
        f"decontamination of {rows:,} rows against {len(PROMPTS)} benchmarks ({len(prompts):,} "
        f"prompts): {told}; {len(expected):,} planted: {scores(found, expected)}"
    )


def gates(planted: int) -> None:
    """Plant rows in a real zoo, run the command, and compare what it refuses."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zoo = pl.read_parquet(DATA / "alpaca_zoo/zoo.parquet")
        zoo.write_parquet(folder / "zoo.parquet")
        before = reasons(folder)
        rows = {row["uuid"]: row for row in zoo.to_dicts()}
        free = [row for uuid, row in rows.items() if uuid not in before]
        copies, pairs = planted_copies(rng, free, planted)
        prompts = [p.text for p in read_benchmarks(BENCHMARKS) if len(p.text.split()) >= 13]
        dirty = set()
        for number, prompt in enumerate(rng.sample(prompts, planted)):
            uuid = f"dirty-{number}"
            instruction = f"{text(rng, 5, 9)}: {prompt} {text(rng, 5, 9)}"
            copies.append(rng.choice(free) | {"uuid": uuid, "instruction": instruction})
            dirty.add(uuid)
        pl.concat([zoo, pl.DataFrame(copies, schema=zoo.schema)]).write_parquet(
            folder / "zoo.parquet"
        )
        after = {uuid: why for uuid, why in reasons(folder).items() if before.get(uuid) != why}
    print(
        f"gates on {zoo.height} rows of alpaca_zoo: {len(before)} refused; with {len(copies)} more"
    )
    for kind, own in pairs.items():
        found = {pair for pair in own if any(after.get(a) == f"duplicate_of: {b}"
                 for a, b in (pair, pair[::-1]))}  # fmt: skip
        print(f"  {kind} duplicates: {len(own)} planted, {len(found)} found")
    own_pairs = {frozenset(pair) for kind in pairs.values() for pair in kind}
    doubled = {frozenset((uuid, why[14:])) for uuid, why in after.items() if "duplicate_of" in why}
    print(f"  duplicates: {scores(doubled, own_pairs)}")
    refused = {uuid for uuid, why in after.items() if why.startswith("contaminated")}
    print(f"  contaminated: {len(dirty)} planted, {len(refused)} found: {scores(refused, dirty)}")


def planted_copies(
    rng: random.Random, free: list[dict[str, Any]], planted: int
) -> tuple[list[dict[str, Any]], dict[str, list[tuple[str, str]]]]:
    """Return copies of rows with another id, and by kind the ids of each and of its original."""
    long = [row for row in free if len(row["instruction"].split()) >= 20]
    near_rows = rng.sample(long, planted)
    others = [row for row in free if row not in near_rows and len(words(row["instruction"])) >= 3]
    chosen = rng.sample(others, 2 * planted)
    ways: dict[str, tuple[list[dict[str, Any]], Callable[[str], str]]] = {
        "exact": (chosen[:planted], str),
        "normalised": (chosen[planted:], lambda said: f"{said.upper()} !"),
        "near": (near_rows, lambda said: f"{rng.choice(WORDS)} {said}"),
    }
    copies, pairs = [], {}
    for kind, (rows, change) in ways.items():
        pairs[kind] = []
        for number, row in enumerate(rows):
            said = change(row["instruction"])
            if kind == "near":
                a, b = (shingles(words(one)) for one in (said, row["instruction"]))
                if jaccard(a, b) < 0.8:
                    continue
            uuid = f"{kind}-{number}"
            copies.append(row | {"uuid": uuid, "instruction": said})
            pairs[kind].append((uuid, row["uuid"]))
    return copies, pairs


def reasons(folder: Path) -> dict[str, str]:
    """Return what the two gates say of the rows that they refuse, through the command."""
    gates = {"duplicates": ["exact", "normalised", "near"], "decontamination": BENCHMARKS}
    (folder / "config.yaml").write_text(yaml.safe_dump({"quality": gates}))
    command = [
        sys.executable, "-m", "flows.select", "--dataset", str(folder / "zoo.parquet"),
        "--crowd", str(DATA / "alpaca_zoo/crowd.yaml"), "--reward-model", "MiniLM-BT",
        "--config", str(folder / "config.yaml"), "--budget", "50", "--quiet",
        "--store", str(folder / "store"), "--out", str(folder / "out"),
    ]  # fmt: skip
    subprocess.run(
        command, check=True, env={**os.environ, "PREFECT_HOME": str(folder / "home")},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    told = json.loads((folder / "out/quality.json").read_text())["gates"]
    table = pl.read_parquet(folder / "out/ranking.parquet", columns=["instruction_id", "reason"])
    found = table.with_columns(pl.col("reason").str.strip_prefix("not eligible: ")).filter(
        pl.col("reason").str.contains("^(duplicate_of|contaminated): ")
    )
    assert found.height == sum(gate["removed"] for gate in told.values())
    return dict(found.iter_rows())


def timed(work: Callable[[], object]) -> tuple[object, str]:
    """Return what the work gives, and its time and memory in words."""
    start, cpu, before = time.perf_counter(), time.process_time(), peak_gib()
    result = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return result, (
        f"{seconds:.1f} s ({cpu:.1f} s of CPU), peak {peak_gib():.2f} GiB (before {before:.2f})"
    )


def scores(found: set[Any], expected: set[Any]) -> str:
    """Return precision and recall in words."""
    right = len(found & expected)
    precision = right / len(found) if found else 1.0
    return f"precision {precision:.4f}, recall {right / len(expected):.4f}"


PARTS = {
    "near": (near, TEXTS), "decontamination": (decontamination, ROWS), "gates": (gates, PLANTED),
}  # fmt: skip


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description="What the quality gates cost and find.")
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--rows", type=int, help="other than 1,000,000, 100,000, 40")
    args = parser.parse_args()
    if args.part:
        measure, rows = PARTS[args.part]
        measure(args.rows or rows)
        return
    print(machine("numpy", "rensa"), flush=True)
    for part in PARTS:
        command = [sys.executable, "-m", "benchmarks.quality", part]
        subprocess.run(command + (["--rows", str(args.rows)] if args.rows else []), check=True)


if __name__ == "__main__":
    main()
