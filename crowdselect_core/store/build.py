"""Building an artifact from shards: finished ones are checked and reused, the rest is computed.

The bytes of a shard depend on the stage's input and the shard plan alone, so a resumed build
ends with the same files as an undisturbed one.
"""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.artifacts import Artifact, Finished, Store
from crowdselect_core.store.executors.threads import _in_order
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.manifest import Shard
from crowdselect_core.store.names import SHARD_NAME
from crowdselect_core.store.plan import Plan, ShardResult

log = logging.getLogger("crowdselect.store")


Progress = Callable[[str, int, int | None], None]  # (what, shards done, shards in all if known)


def build(
    store: Store, spec: Spec, plan: Plan, *, workers: int = 1, progress: Progress | None = None
) -> Artifact:
    """Compute the shards that the store lacks, `workers` at a time, and commit the artifact.

    Raises:
        StorageError: the store cannot be read or written.
        DamagedArtifact: finished shards vanished while the others were computed.
        Whatever a shard's call raises; the shards that were finished stay.
    """
    store.place.check_writable()
    with heartbeat(store.place, spec.folder):
        finished = _finished(store, spec, plan)  # as they are since the folder looks alive
        if finished:
            log.info("%s: resuming from %d finished shards", spec.stage, len(finished))
        return _build(store, spec, plan, finished, workers, progress)


def _build(
    store: Store,
    spec: Spec,
    plan: Plan,
    finished: Mapping[int, list[str]],
    workers: int,
    progress: Progress | None,
) -> Artifact:
    def one(index: int, make: Callable[[], ShardResult]) -> Finished:
        kept = _kept(store, spec, finished.get(index, []))
        if kept:
            return kept
        log.debug("%s: shard %d is computed", spec.folder, index)
        return _write(store, spec, plan.tag, index, make())

    done: list[Finished] = []
    for result in _in_order(one, enumerate(plan.parts), workers):
        done.append(result)
        if progress:
            progress(spec.stage, len(done), plan.total)
    if gone := _vanished(store, spec, done):
        raise DamagedArtifact(
            f"{spec.folder}: {len(gone)} finished shards ({gone[0][:10]} ...) vanished while "
            "the others were computed; is somebody removing files?"
        )
    return store.commit(spec, done, plan.facts())


def _vanished(store: Store, spec: Spec, done: Sequence[Finished]) -> list[str]:
    """Return the finished shards that are not there any more.

    A listing may lag behind: what it does not show is looked for by its name.
    """
    there = store.place.sizes(spec.folder)
    gone = []
    for shard, _ in done:
        size = there.get(shard.name)
        if size is None:
            with suppress(FileNotFoundError):
                size = len(store.place.read(f"{spec.folder}/{shard.name}"))
        if size != shard.bytes:
            gone.append(shard.name)
    return gone


def _finished(store: Store, spec: Spec, plan: Plan) -> dict[int, list[str]]:
    """Return the shard files of this plan that are there, by index, in name order."""
    found: dict[int, list[str]] = {}
    for name in sorted(store.place.sizes(spec.folder)):
        match = SHARD_NAME.fullmatch(name)
        if match and match["plan"] == plan.tag:
            found.setdefault(int(match["index"]), []).append(name)
    return found


def _kept(store: Store, spec: Spec, names: list[str]) -> Finished | None:
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
        elif told["of"] != f"{spec.folder}/{name.rsplit('-', 1)[0]}":
            damage = "belongs to another artifact, or another place in this one"
        else:
            return Shard(name, told["rows"], len(data), digest), told
        log.warning("%s/%s %s; computing it again", spec.folder, name, damage)
        store.place.remove(f"{spec.folder}/{name}")
    return None


def _told(data: bytes) -> dict[str, Any] | None:
    """Return what a shard tells of itself, None when it is no shard.

    That is its rows, counts and notes, and whose it is: shards of one stage have names of one form,
    and one that lies in another's folder, or has another's name, must not be taken for its own.
    """
    try:
        told = safe_parquet.told(data)
        return {
            "rows": int(told["rows"]),
            "counts": {str(name): int(n) for name, n in told["counts"].items()},
            "notes": [str(note) for note in told["notes"]],
            "of": str(told["of"]),
        }
    except (safe_parquet.Unreadable, KeyError, TypeError, ValueError, AttributeError):
        return None


def _write(store: Store, spec: Spec, tag: str, index: int, part: ShardResult) -> Finished:
    """Encode one shard and write it under a name that ends in its sha256."""
    place = f"{spec.folder}/part-{index:05d}-of-{tag}"
    told = {
        "rows": part.frame.height,
        "counts": dict(part.counts),
        "notes": list(part.notes),
        "of": place,
    }
    text = canonical(told).decode()
    buffer = io.BytesIO()
    part.frame.write_parquet(buffer, compression="zstd", metadata={safe_parquet.MARK: text})
    data = buffer.getvalue()
    digest = sha256(data).hexdigest()
    store.place.create_exclusive(f"{place}-{digest}.parquet", data)
    name = f"part-{index:05d}-of-{tag}-{digest}.parquet"
    return Shard(name, part.frame.height, len(data), digest), told
