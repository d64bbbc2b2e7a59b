"""Building an artifact from shards: what is there is checked and kept, the rest is computed.

The bytes of a shard depend on the stage's input and the shard plan alone, so a resumed build
ends with the same files as an undisturbed one.
"""

import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Any

import polars as pl

from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.manifest import SHARD_NAME, Shard
from crowdselect_core.store.store import Artifact, Store

log = logging.getLogger("crowdselect.store")

Progress = Callable[[str, int, int | None], None]  # (what, shards done, shards in all if known)


@dataclass(frozen=True)
class Part:
    """The rows of one shard, and what was counted while they were made."""

    frame: pl.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How a stage's work is cut: one call per shard, and a name for the cut.

    `cut` holds what the borders of the shards follow from (rows a shard, say). Shards of another
    cut in the same folder are left aside, never mixed.
    """

    parts: Iterable[Callable[[], Part]]
    cut: Mapping[str, Any]
    total: int | None = None
    facts: Callable[[], Mapping[str, Any]] = dict

    @property
    def tag(self) -> str:
        """Eight hex digits that name the cut in the shards' file names."""
        return sha256(canonical(dict(self.cut))).hexdigest()[:8]


def single(make: Callable[[], Part], facts: Callable[[], Mapping[str, Any]] = dict) -> Plan:
    """Return the plan of a stage whose result is one shard."""
    return Plan(parts=[make], cut={"shards": 1}, total=1, facts=facts)


def build(
    store: Store, spec: Spec, plan: Plan, *, workers: int = 1, progress: Progress | None = None
) -> Artifact:
    """Compute the shards that the store lacks, `workers` at a time, and commit the artifact.

    Raises:
        StorageError: the store cannot be read or written.
        Whatever a shard's call raises; the shards that were finished stay.
    """
    store.place.check_writable()
    finished = _finished(store, spec, plan)
    if finished:
        log.info("%s: %d finished shards found, going on from there", spec.stage, len(finished))

    def one(index: int, make: Callable[[], Part]) -> tuple[Shard, Mapping[str, int]]:
        kept = _kept(store, spec, finished.get(index, []))
        return kept if kept else _write(store, spec, plan.tag, index, make())

    done: list[tuple[Shard, Mapping[str, int]]] = []
    for result in _in_order(one, enumerate(plan.parts), workers):
        done.append(result)
        if progress:
            progress(spec.stage, len(done), plan.total)
    return store.commit(spec, done, plan.facts())


def _in_order(
    call: Callable[[int, Callable[[], Part]], tuple[Shard, Mapping[str, int]]],
    jobs: Iterator[tuple[int, Callable[[], Part]]],
    workers: int,
) -> Iterator[tuple[Shard, Mapping[str, int]]]:
    """Run the jobs on threads, no more than `workers` ahead, and yield the results in order."""
    with ThreadPoolExecutor(workers, thread_name_prefix="shard") as pool:
        waiting: list[Future[tuple[Shard, Mapping[str, int]]]] = []
        try:
            waiting += [pool.submit(call, *job) for job in islice(jobs, workers)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(call, *job) for job in islice(jobs, 1)]
        finally:
            for future in waiting:
                future.cancel()


def _finished(store: Store, spec: Spec, plan: Plan) -> dict[int, list[str]]:
    """Return the shard files of this plan that are there, by index, in name order."""
    found: dict[int, list[str]] = {}
    for name in sorted(store.place.sizes(spec.folder)):
        match = SHARD_NAME.fullmatch(name)
        if match and match["plan"] == plan.tag:
            found.setdefault(int(match["index"]), []).append(name)
    return found


def _kept(store: Store, spec: Spec, names: list[str]) -> tuple[Shard, Mapping[str, int]] | None:
    """Return the first whole shard among `names`; what is damaged is said and removed."""
    for name in names:
        try:
            data = store.place.read(f"{spec.folder}/{name}")
        except FileNotFoundError:
            continue
        digest = sha256(data).hexdigest()
        if digest != name.removesuffix(".parquet").rsplit("-", 1)[-1]:
            damage = "is damaged (sha256 differs)"
        elif (told := _told(data)) is None:
            damage = "was not written by a build"
        else:
            return Shard(name, told[0], len(data), digest), told[1]
        log.warning("%s/%s %s; it alone is computed anew", spec.folder, name, damage)
        store.place.remove(f"{spec.folder}/{name}")
    return None


def _told(data: bytes) -> tuple[int, dict[str, int]] | None:
    """Return the rows and counts that a shard tells of itself, None when it is no shard."""
    try:
        metadata = pl.read_parquet_metadata(io.BytesIO(data))
        told = json.loads(metadata["crowdselect"])
        return int(told["rows"]), {str(name): int(n) for name, n in told["counts"].items()}
    except (pl.exceptions.PolarsError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _write(
    store: Store, spec: Spec, tag: str, index: int, part: Part
) -> tuple[Shard, Mapping[str, int]]:
    """Encode one shard and write it under a name that ends in its sha256."""
    told = canonical({"rows": part.frame.height, "counts": dict(part.counts)}).decode()
    buffer = io.BytesIO()
    part.frame.write_parquet(buffer, compression="zstd", metadata={"crowdselect": told})
    data = buffer.getvalue()
    digest = sha256(data).hexdigest()
    name = f"part-{index:05d}-of-{tag}-{digest}.parquet"
    store.place.create(f"{spec.folder}/{name}", data)
    return Shard(name, part.frame.height, len(data), digest), dict(part.counts)
