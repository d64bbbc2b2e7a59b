"""Live selections behind a network that refuses, cuts and delays: what comes of them, at what cost.

    python -m benchmarks.faults [--runs 3] [--delay 30] [--seed 0]

Store and results of `python -m flows.select` lie on a real S3 server (SeaweedFS) behind a proxy
that refuses 10 % of the requests with 500, 503 and SlowDown, cuts 7 % in the middle of a body or
before the answer, and holds 1 % back for 30 seconds. A run that stops is started again until it
comes through. At the end each row stands in every table once, no process has told of damaged bytes,
and the files are those of a run without the proxy, byte for byte; anything else ends the benchmark
with an error. Printed is how long it took beside that run, what failed, and how many answers were
asked for twice.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.kills import ROOT, prefect
from benchmarks.measure import machine

sys.path.append(str(ROOT / "tests"))  # the servers and drills of the tests

from drill import FILES, Drill, Size, damage
from faults import place_in, proxied
from servers import S3Server

STARTS = 10  # of a run, before it counts as one that never ends


def suffer(
    drill: Drill, server: S3Server, name: str, delay: float, seed: int, expected: dict[str, bytes]
) -> None:
    """Bring one run through, and tell of it."""
    folder = drill.folder / f"{name}-proxy"
    folder.mkdir()
    with (
        proxied(server, folder, delay=delay, seed=seed) as (url, log),
        drill.run(name, place_in(server, url)) as one,
    ):
        lives = []
        while not lives or lives[-1].status != 0:
            if len(lives) == STARTS:
                raise SystemExit(f"{name}: not through after {STARTS} starts: {lives[-1].stderr}")
            lives.append(life := one.live())
            if damage(life.stderr) or life.status not in (0, 2):
                raise SystemExit(f"{name}: exit {life.status}: {life.stderr}")
        one.check(drill.size)
        files = one.files()
        if differ := [file for file in FILES if files[file] != expected[file]]:
            raise SystemExit(f"{name}: other than without the proxy: {', '.join(differ)}")
        kinds = Counter(line.split()[0] for line in log.read_text().splitlines())
        asked = one.endpoint.asked
        told = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())
        print(
            f"{name}: {sum(life.seconds for life in lives):.0f} s, started {len(lives)} times, "
            f"{sum(asked.values()) - len(asked)} of {len(asked)} answers asked twice; files equal\n"
            f"  {told}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--delay", type=float, default=30.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=120)
    args = parser.parse_args()
    size = Size(rows=args.rows, models=2, delay=250, sleep=0.01)
    print(machine("prefect", "s3fs"))
    with tempfile.TemporaryDirectory() as name, prefect(Path(name) / "home") as command:
        folder = Path(name) / "drill"
        folder.mkdir()
        server = S3Server.start(folder / "s3")
        try:
            os.environ.update(server.environment())
            drill = Drill(command.within(folder), folder, size)
            expected, seconds = drill.undisturbed(place_in(server))
            print(f"undisturbed: {seconds:.0f} s", flush=True)
            for run in range(args.runs):
                suffer(drill, server, f"run {run}", args.delay, args.seed + run, expected)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
