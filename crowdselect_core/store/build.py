"""Building an artifact from shards: finished ones are checked and reused, the rest is computed.

The bytes of a shard depend on the stage's input and the shard plan alone, so a resumed build
ends with the same files as an undisturbed one.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store import safe_parquet, shard_bytes
from crowdselect_core.store.artifacts import Artifact, Finished, Store
from crowdselect_core.store.executors.base import Executor, Job, Parts
from crowdselect_core.store.executors.threads import Threads
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.manifest import Shard
from crowdselect_core.store.names import SHARD_NAME
from crowdselect_core.store.plan import Plan, ShardCopy, ShardResult
from crowdselect_core.util.notes import log_warning

log = logging.getLogger("crowdselect.store")


Progress = Callable[[str, int, int], None]  # (what, shards done, shards in all)


def build(
    store: Store,
    spec: Spec,
    plan: Plan,
    *,
    executor: Executor | None = None,
    job: Job | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compute the shards that the store lacks, and commit the artifact.

    Args:
        store: where the artifact will be.
        spec: its name.
        plan: how it is computed.
        executor: runs the parts; without one they are computed one after the other.
        job: what other processes compute the parts from, for an executor that has any.
        progress: called after every shard.

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

        def here(index: int) -> Finished:
            return finish(store, spec.folder, plan, index, finished.get(index, ()))

        parts = Parts(store.place.root, spec.folder, finished, job, here, plan.without_model)
        done = _run(executor or Threads(), parts, spec, plan, progress)
        if gone := _vanished(store, spec, done):
            raise DamagedArtifact(
                f"{spec.folder}: {len(gone)} finished shards ({gone[0][:10]} ...) vanished while "
                "the others were computed; is somebody removing files?"
            )
        return store.commit(spec, done, plan.facts())


def finish(
    store: Store, folder: str, plan: Plan, index: int, finished: Sequence[str] = ()
) -> Finished:
    """Return one shard of an artifact: of those that are finished, or computed and written.

    Args:
        store: where the artifact is.
        folder: the artifact's.
        plan: how it is computed.
        index: which part of it.
        finished: names of shards of this index and plan that lie in the folder.
    """
    kept = _kept(store, folder, finished)
    if kept:
        return kept
    log.debug("%s: shard %d is computed", folder, index)
    return _write(store, folder, plan.tag, index, plan.compute(index))


def _run(
    executor: Executor, parts: Parts, spec: Spec, plan: Plan, progress: Progress | None
) -> list[Finished]:
    """Run all parts and return the shards in their order, however the parts ended.

    Logs every note once, and reports how far the build is.
    """
    done: list[Finished] = []
    notes: set[str] = set()
    shards = executor.run(parts, range(plan.total))
    try:
        for shard in shards:
            done.append(shard)
            for note in shard[1]["notes"]:
                if note not in notes:  # each shard of a table carries those of the whole
                    log_warning(note)
                    notes.add(note)
            if progress:
                progress(spec.stage, len(done), plan.total)
    finally:
        if isinstance(shards, Generator):  # now, not when the error's traceback is let go
            shards.close()
    return sorted(done, key=_index)


def _index(shard: Finished) -> int:
    name = shard[0].name
    if (match := SHARD_NAME.fullmatch(name)) is None:
        raise ValueError(f"{name!r} is no name of a shard")
    return int(match["index"])


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


def _kept(store: Store, folder: str, names: Sequence[str]) -> Finished | None:
    """Return the first whole shard among `names`; what is damaged is said and removed."""
    for name in names:
        try:
            data = store.place.read(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        digest = sha256(data).hexdigest()
        if digest != name.removesuffix(".parquet").rsplit("-", 1)[-1]:
            damage = "is damaged (sha256 differs)"
        elif (told := _told(data)) is None:
            damage = "was not written by a build"
        elif told["of"] != f"{folder}/{name.rsplit('-', 1)[0]}":
            damage = "belongs to another artifact, or another place in this one"
        else:
            return Shard(name, told["rows"], len(data), digest), told
        log.warning("%s/%s %s; computing it again", folder, name, damage)
        store.place.remove(f"{folder}/{name}")
    return None


def _told(data: bytes) -> dict[str, Any] | None:
    """Return what a shard tells of itself, None when it is no shard.

    That is its rows, counts and notes, and whose it is: shards of one stage have names of one form,
    and one that lies in another's folder, or has another's name, must not be taken for its own.
    """
    try:
        told = safe_parquet.read_metadata(data)
        return {
            "rows": int(told["rows"]),
            "counts": {str(name): int(n) for name, n in told["counts"].items()},
            "notes": [str(note) for note in told["notes"]],
            "of": str(told["of"]),
        }
    except (safe_parquet.Unreadable, KeyError, TypeError, ValueError, AttributeError):
        return None


def _write(
    store: Store, folder: str, tag: str, index: int, part: ShardResult | ShardCopy
) -> Finished:
    """Encode one shard and write it under a name that ends in its sha256."""
    place = f"{folder}/part-{index:05d}-of-{tag}"
    told = {
        "rows": part.rows,
        "counts": dict(part.counts),
        "notes": list(part.notes),
        "of": place,
    }
    text = canonical(told).decode()
    data = _encoded(part, text)
    digest = sha256(data).hexdigest()
    store.place.create_exclusive(f"{place}-{digest}.parquet", data)
    name = f"part-{index:05d}-of-{tag}-{digest}.parquet"
    return Shard(name, part.rows, len(data), digest), told


def _encoded(part: ShardResult | ShardCopy, text: str) -> bytes:
    """Return the bytes of a shard that tells `text` of itself."""
    if isinstance(part, ShardCopy):
        return safe_parquet.with_metadata(part.data, text)
    return shard_bytes.encode(part.frame, text)
