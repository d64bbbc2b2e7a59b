"""What the store costs: its share of a stage, checking all of it, listing all of it.

    python -m benchmarks.store [--small] [overhead] [verify] [s3] [ls]

- overhead: a stage whose own work takes about a minute is built with the store; what is not the
  work (keys, checks, encoding, hashing, commits) is its share. Target: at most 5%.
- verify: 10 GB of shards on the disk, `verify` beside a bare read of the same files, in turn and
  cold: the files are dropped from the page cache before each. Target: half the speed of the read.
- s3: the same over a SeaweedFS that is started here, 1 GB, beside a bare read of as many threads.
- ls: 10,000 artifacts on that server, by `python -m crowdselect_core.store ls`. Target: 10 s.

Files are made in a temporary folder and removed. TMPDIR says where; verify needs 10 GB there.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import polars as pl

from benchmarks.measure import machine, spread
from crowdselect_core.store.admin.verify import WORKERS, verify
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.manifest import Manifest, Shard
from crowdselect_core.store.names import FILE
from crowdselect_core.store.plan import Plan, ShardResult, single

ROOT = Path(__file__).parents[1]
TURNS = 3
GB = 10**9


def overhead(folder: Path, seconds: float) -> None:
    """Build a stage of a shard every three seconds and print the store's share."""
    shards, rows, store = round(seconds / 3), 50_000, Store(str(folder / "overhead"))
    first = build(store, Spec("input", 1, {}), single(_part(rows, 0, 0.0)))
    spec = Spec("work", 1, {"seed": 0}, {"input": first.key})
    worked: list[float] = []
    parts = [_part(rows, i, seconds / shards, worked) for i in range(shards)]
    started = time.perf_counter()
    if store.find(spec) is not None or store.open("input", first.key).frame().height != rows:
        raise SystemExit("the stage is there already, or its input is not")
    built = build(store, spec, Plan(shards, lambda i: parts[i](), {"rows": rows}))
    whole = time.perf_counter() - started
    size = sum(s.bytes for s in built.manifest.shards)
    share = (whole - sum(worked)) / whole
    print(
        f"overhead: {built.rows:,} rows in {shards} shards of {size / shards / 2**20:.1f} MiB, "
        f"{whole:.1f} s, {sum(worked):.1f} s of it the stage's own: the store's share is "
        f"{share:.1%} (target 5%: {_verdict(share <= 0.05)})",
        flush=True,
    )


def _part(
    rows: int, index: int, seconds: float, worked: list[float] | None = None
) -> Callable[[], ShardResult]:
    """Return a call that computes columns like those of `scores`, over and over for a while."""

    def make() -> ShardResult:
        started = time.perf_counter()
        while True:
            frame = _table(rows, index)
            if time.perf_counter() - started >= seconds:
                break
        if worked is not None:
            worked.append(time.perf_counter() - started)
        return ShardResult(frame, {"rows": rows})

    return make


def _table(rows: int, seed: int) -> pl.DataFrame:
    numbers = pl.int_range(rows, eager=True) + seed * rows
    scores = {f"m{i}": (numbers.hash(seed=i) % 2**32).cast(pl.Float64) / 2**32 for i in range(19)}
    return pl.DataFrame({"instruction_id": numbers.hash(seed=99).cast(pl.String), **scores})


def fill(place: StorageBackend, size: int, shard: int) -> list[str]:
    """Write artifacts of random bytes, `size` in all, and return the names of the shards."""
    names = []
    for number in range(max(1, size // shard)):
        data = os.urandom(shard)
        digest = sha256(data).hexdigest()
        spec = Spec("blobs", 1, {"number": number})
        one = Shard(f"part-00000-of-01234567-{digest}.parquet", 1, len(data), digest)
        manifest = Manifest("blobs", 1, spec.key, spec.identity, {}, 1, {}, (one,))
        names.append(f"{spec.folder}/{one.name}")
        place.replace(names[-1], data)
        place.replace(f"{spec.folder}/{FILE}", manifest.encode())
    return names


def cold(root: Path) -> None:
    """Drop the files from the page cache."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(place: StorageBackend, names: list[str], sizes: dict[str, int]) -> int:
    """Read files on as many threads as verify does, and do nothing with them."""

    def one(name: str) -> int:
        return sum(len(block) for block in place.read_blocks(name, sizes[name]))

    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(one, names))


def beside(what: str, place: StorageBackend, names: list[str], before: Callable[[], None]) -> None:
    """Print the speed of verify and of a bare read of the same files, in turn."""
    sizes = {f.name: f.size for f in place.walk()}
    bare, checked = [], []
    for _ in range(TURNS):
        before()
        started = time.perf_counter()
        size = read(place, names, sizes)
        bare.append(size / 2**20 / (time.perf_counter() - started))
        before()
        started = time.perf_counter()
        found = verify(place)
        checked.append(found.bytes / 2**20 / (time.perf_counter() - started))
        if not found.is_whole or len(names) * 2 != found.files:
            raise SystemExit(f"verify found {found.files} files and {len(found.findings)} wrong")
    ratio = statistics.median(c / b for c, b in zip(checked, bare, strict=True))
    print(
        f"{what}: {size / GB:.1f} GB in {len(names)} shards: read {spread(bare)} MiB/s, verify "
        f"{spread(checked)} MiB/s; verify / read {ratio:.2f} (target 0.50: "
        f"{_verdict(ratio >= 0.5)})",
        flush=True,
    )


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """Start a SeaweedFS on loopback, and return the URL of its bucket."""
    sys.path.insert(0, str(ROOT / "tests"))
    from servers import S3Server

    server = S3Server.start(folder / "s3")
    try:
        os.environ.update(server.environment())
        yield f"s3://{server.bucket}"
    finally:
        server.stop()


def listing(url: str, count: int) -> None:
    """Make artifacts of one small shard over ten stages, and time the command that lists them."""
    place = open_backend(url)

    def make(number: int) -> None:
        data = b"%d" % number * 200
        digest = sha256(data).hexdigest()
        spec = Spec(f"stage{number % 10}", 1, {"number": number, "models": ["a model"] * 20})
        shard = Shard(f"part-00000-of-01234567-{digest}.parquet", 9, len(data), digest)
        manifest = Manifest(spec.stage, 1, spec.key, spec.identity, {}, 9, {}, (shard,))
        place.replace(f"{spec.folder}/{shard.name}", data)
        place.replace(f"{spec.folder}/{FILE}", manifest.encode())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(make, range(count)))
    command = [sys.executable, "-m", "crowdselect_core.store", "ls", "--store", url]
    took = []
    for _ in range(TURNS):
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        took.append(time.perf_counter() - started)
        if done.stdout.count(" complete ") != count:
            raise SystemExit(f"{done.stdout.count(' complete ')} were listed, expected {count}")
    verdict = _verdict(statistics.median(took) <= 10)
    print(f"ls: {count:,} artifacts over S3 in {spread(took)} s, start of Python and all "
          f"(target 10 s: {verdict})", flush=True)  # fmt: skip


def _verdict(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cases = ["overhead", "verify", "s3", "ls"]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {cases}; all by default")
    parser.add_argument("--small", action="store_true", help="a tenth of everything")
    args = parser.parse_args()
    if wrong := set(args.cases) - set(cases):
        parser.error(f"{sorted(wrong)}, expected some of {cases}")
    wanted, part = args.cases or cases, 10 if args.small else 1
    load = os.getloadavg()[0]
    print(f"{machine('polars', 'pyarrow', 's3fs')}; load before the start {load:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="crowdselect-") as made:
        folder = Path(made)
        if "overhead" in wanted:
            overhead(folder, 60 / part)
        if "verify" in wanted:
            root = folder / "verify"
            place = open_backend(str(root))
            names = fill(place, 10 * GB // part, 64 << 20)
            beside("verify, local and cold", place, names, lambda: cold(root))
            for name in names:
                place.remove(name)
        if "s3" in wanted or "ls" in wanted:
            with s3(folder) as url:
                if "s3" in wanted:
                    place = open_backend(f"{url}/verify")
                    names = fill(place, GB // part, 16 << 20)
                    beside("verify over S3", place, names, lambda: cold(folder / "s3"))
                if "ls" in wanted:
                    listing(f"{url}/ls", 10_000 // part)


if __name__ == "__main__":
    main()
