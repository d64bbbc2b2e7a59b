"""kill -9 at random moments over whole live selections: what is lost, and what is done twice.

    python -m benchmarks.kills [--kills 100] [--store local s3] [--seed 0]

`python -m flows.select` asks the test endpoint (repeatable answers, a process of its own), scores
by a function, and chooses. Each run is killed with its whole process group after a random time,
drawn evenly between two shares of what the undisturbed run took, and started again, until it comes
through; then the next one starts in an empty store, until there were enough kills. One Prefect
server serves all. s3 is a real S3 server (SeaweedFS) on loopback, for store and results.

At the end of every run each row stands in every table once, no process has told of damaged bytes,
and train.jsonl, selection.parquet and ranking.parquet are those of the undisturbed run, byte for
byte; anything else ends the benchmark with an error. Printed is what was done twice, beside what
may be: per kill the requests in flight and the answers of the last second, the score in the making
and those of the last second, and one shard of each table in the making (the models' responses are
made side by side, all else one by one). The seed draws the times; where they find the run depends
on the machine.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.measure import machine

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "tests"))  # the servers and drills of the tests

from command import Command  # noqa: E402
from drill import Drill, Place, Report, Size, lives  # noqa: E402
from prefects import PrefectServer  # noqa: E402
from servers import S3Server, quiet_environment  # noqa: E402


@contextmanager
def prefect(folder: Path) -> Iterator[Command]:
    """Run a Prefect server; yield the command that uses it."""
    folder.mkdir()
    server = PrefectServer.launch(folder)
    try:
        server.wait()
        told = {"PREFECT_API_URL": server.api, "PYTHONPATH": str(ROOT)}
        yield Command(quiet_environment(folder) | told, folder)
    finally:
        server.stop()


@contextmanager
def place_of(store: str, folder: Path) -> Iterator[Place]:
    """Yield where the runs keep their stores: their own folders, or a bucket of a real server."""
    if store == "local":
        yield Place()
        return
    server = S3Server.start(folder / "s3")
    before = dict(os.environ)
    try:
        os.environ.update(server.environment())
        yield Place(f"s3://{server.bucket}/kills", server.environment())
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


def kill(
    drill: Drill, store: str, place: Place, expected: dict[str, bytes], args: argparse.Namespace
) -> tuple[Report, dict[str, bytes]]:
    """Kill runs until there were enough kills; tell of each run."""
    files, seconds = drill.undisturbed(place)
    if (expected := expected or files) != files:
        raise SystemExit(f"{store}: an undisturbed run gives other files than in the first store")
    print(f"{store}: undisturbed {seconds:.1f} s", flush=True)
    report, random = Report(), Random(f"{args.seed} {store}")
    while report.kills < args.kills:
        left = lives(random, args.from_ * seconds, args.to * seconds, args.kills - report.kills)
        told = drill.killed(f"run-{report.runs}", place, left, expected)
        report.add(told)
        print(f"  run {report.runs}: {told.kills} kills, equal; {report.kills} in all", flush=True)
    return report, expected


def tell(store: str, size: Size, report: Report) -> None:
    """Print what the kills cost beside what they may."""
    print(f"{store}: {report.kills} kills over {report.runs} runs; every run's files are equal to")
    print("  the undisturbed one's byte for byte, every row is there once, nothing torn was read")
    where = ", ".join(f"{stage} {n}" for stage, n in report.reached.most_common())
    print(f"  killed after a line of: {where}")
    bounds = {
        "requests": size.per_kill,
        "scores": size.scores_per_kill,
        "shards": size.shards_per_kill,
    }
    done = {"requests": "asked twice", "scores": "made twice", "shards": "computed twice"}
    for kind, bound in bounds.items():
        lost = report.lost[kind]
        verdict = "kept" if sum(lost) <= bound * report.kills else "MISSED"
        print(
            f"  {kind} {done[kind]}: {sum(lost):,} in all, {sum(lost) / report.kills:.1f} a kill, "
            f"{max(lost)} at the most; bound {bound} a kill: {verdict}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each store")
    parser.add_argument("--store", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--from", type=float, default=0.2, dest="from_", help="share of a run")
    parser.add_argument("--to", type=float, default=1.0, help="share of a run")
    args = parser.parse_args()
    size = Size(rows=args.rows)
    print(machine("prefect", "polars", "s3fs"))
    print(
        f"{size.rows} rows, {size.models} models, {size.concurrency} requests of {size.delay:g} ms "
        f"in flight each, a score takes {size.sleep * 1000:g} ms",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name, prefect(Path(name) / "home") as command:
        expected: dict[str, bytes] = {}
        for store in args.store:
            folder = Path(name) / store
            folder.mkdir()
            with place_of(store, folder) as place:
                drill = Drill(command.within(folder), folder, size)
                report, expected = kill(drill, store, place, expected, args)
                tell(store, size, report)


if __name__ == "__main__":
    main()
