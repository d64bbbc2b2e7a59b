"""CPU and peak memory of every stage of a reselection from stored scores, when 1 % is new.

    python -m benchmarks.reselect_large [--rows 1000000 10000000] [--share 0.01] [--width 0]

The rows of `benchmarks.ten_million` are selected from once. Then a file with new rows arrives, and
a frozen reselection follows: every stage, the counts of what changed, and the export, each in a
process of its own. CPU is that of all its threads after its imports; the peak is that of the whole
process. The last lines are what there is to compare it with: one pass over the stored tables
(read, checked by their sha256, decoded) and the first selection, from scores that were stored.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.ten_million import STORED, InChildren, crowd, export_files, keys_of, write_scores
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.reselection.base_selection import changes, made_record
from crowdselect_core.reselection.record import BaseSelection, KnownSelection, known
from crowdselect_core.stages.graph import ARRIVALS, INSTRUCTIONS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

TARGET = 4.0  # GiB


def first(config: ReselectConfig, run: InChildren) -> KnownSelection:
    """Select from the rows that are known."""
    from flows.select import chosen

    made = chosen(config, run=run)
    run.call("export", export_files, config, made.inputs)
    record = made_record(config, None, made, {"all": 0, "chosen": 0}, {})
    return known(Store(config.store), BaseSelection(1, record))


def again(config: ReselectConfig, base: KnownSelection, run: InChildren) -> None:
    """Select again, in the order of `flows.reselect`."""
    from flows import crowd_steps
    from flows.reselect_steps import compared, joined, measured

    raw = run(INSTRUCTIONS, config, base.raw)
    split = crowd_steps.split(config, find_missing(config), raw, run=run)
    arrived = run(ARRIVALS, config, split.rows, base.parts["scores"])
    run.call("changes", _changes, config, base, raw, arrived)
    new = measured(config, base, arrived, run=run)
    made = joined(config, base, raw, split, new, run=run)
    made = compared(config, base, made, arrived, new, run=run)
    run.call("export", export_files, config, made.inputs)


def _changes(config: ReselectConfig, base: KnownSelection, raw: Ref, arrived: Ref) -> None:
    changes(Store(config.store), base, raw, arrived)


def _one_pass(config: ReselectConfig, tables: list[Ref]) -> None:
    store = Store(config.store)
    for table in tables:
        for _ in table.open(store).frames():
            pass


def measure(folder: Path, rows: int, new: int, width: int, budget: int) -> None:
    """Select, let the new rows arrive, select again, and print what that took."""
    (folder / "data").mkdir(parents=True)
    write_scores(folder / "data" / "a.parquet", rows, width)
    keys = keys_of(folder, "data", width, budget) | {"report": False}
    config = ReselectConfig.model_validate(keys).resolved()
    before, run = InChildren(silent=None), InChildren(silent=())
    base = first(config, before)
    write_scores(folder / "data" / "b.parquet", new, width, first=rows)
    again(config, base, run)
    cpu, peak = run.together()
    verdict = "kept" if peak <= TARGET else "MISSED"
    print(f"  together       {cpu:7.2f} s CPU   {peak:5.2f} GiB at most (target 4: {verdict})")
    before.call("one pass", _one_pass, config, [refs[0] for refs in base.parts.values()])
    print(f"  one pass       {before.costs[-1][1]:7.2f} s CPU")
    cpu, peak = before.together({*STORED, "one pass"})
    print(f"  the selection  {cpu:7.2f} s CPU   {peak:5.2f} GiB at most", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--share", type=float, default=0.01, help="of new rows")
    parser.add_argument("--width", type=int, default=0)
    parser.add_argument("--budget", type=int, default=1000)
    args = parser.parse_args()
    print(machine("polars", "numpy", "pyarrow"))
    for rows in args.rows:
        told, new = f", vectors of width {args.width}" if args.width else "", int(rows * args.share)
        print(f"{rows:,} rows x {len(crowd())} scores{told}, {new:,} new", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), rows, new, args.width, args.budget)


if __name__ == "__main__":
    main()
