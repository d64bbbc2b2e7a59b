"""The store: artifacts found by what they are, read with their checksums, built shard by shard.

An artifact is ROOT/<stage>/<key>/: parquet shards named by their own sha256, and a manifest
written last. A killed build leaves whole shards, and the next one goes on with the shards that
are missing. Two builds that race write the same names; the first manifest wins and both go on.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.errors import DamagedArtifact, StorageError
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import Spec, differences
from crowdselect_core.store.manifest import Manifest, Shard
from crowdselect_core.store.names import FILE, SHARD_NAME

log = logging.getLogger("crowdselect.store")

# A shard that is stored, and what it tells: its rows, counts and notes.
Finished = tuple[Shard, Mapping[str, Any]]

_FOLDER = re.compile(r"[a-z]+(-[a-z]+)*/[0-9a-f]{64}")
COMMITS = 5  # tries to write a manifest that others remove at the same moment
NEIGHBOURS_READ = 20  # manifests that are looked at to explain a miss
_removed: dict[str, str] = {}  # shards that this process found damaged and removed, and why


@dataclass(frozen=True)
class Artifact:
    """A complete artifact: its manifest, and the place its shards are read from."""

    place: StorageBackend
    manifest: Manifest

    @property
    def key(self) -> str:
        """The artifact's key."""
        return self.manifest.key

    @property
    def rows(self) -> int:
        """Rows over all shards."""
        return self.manifest.rows

    def frames(self, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
        """Yield the shards in order, each checked against its sha256 before it is parsed.

        Raises:
            DamagedArtifact: a shard is gone or its bytes are not what its name says. It is
                removed, so that the next build computes it, and only it, anew.
        """
        for index in range(len(self.manifest.shards)):
            yield self.shard(index, columns)

    def shard(self, index: int, columns: list[str] | None = None) -> pl.DataFrame:
        """Return one shard, checked; see `frames`."""
        return self.decoded(index, self.bytes(index), columns)

    def decoded(self, index: int, data: bytes, columns: list[str] | None = None) -> pl.DataFrame:
        """Return the table of one shard, whose checked bytes are given; see `frames`."""
        shard = self.manifest.shards[index]
        try:
            return safe_parquet.decode(data, columns, rows=shard.rows)
        except safe_parquet.Unreadable as e:
            raise self._bad(shard, str(e)) from None

    def frame(self, columns: list[str] | None = None) -> pl.DataFrame:
        """Return all shards as one frame."""
        return pl.concat(list(self.frames(columns)), rechunk=True)

    def bytes(self, index: int) -> bytes:
        """Return the bytes of one shard, checked; see `frames`."""
        shard = self.manifest.shards[index]
        name = f"{self.manifest.folder}/{shard.name}"
        try:
            data = self.place.read(name)
        except FileNotFoundError:
            # Another thread may have found it damaged, and removed it, a moment ago.
            why = _removed.get(f"{self.place.root}/{name}", "is gone")
            raise DamagedArtifact(f"{self.place.root}/{name} {why}") from None
        if len(data) != shard.bytes or sha256(data).hexdigest() != shard.sha256:
            raise self._bad(shard, "is damaged (sha256 differs)")
        _removed.pop(f"{self.place.root}/{name}", None)
        return data

    def _bad(self, shard: Shard, why: str) -> DamagedArtifact:
        """Remove a shard that cannot be used, and say why."""
        name = f"{self.manifest.folder}/{shard.name}"
        _removed[f"{self.place.root}/{name}"] = why
        self.place.remove(name)
        return DamagedArtifact(f"{self.place.root}/{name} {why}")


class Store:
    """Artifacts under one root."""

    def __init__(self, root: str) -> None:
        self.place = open_backend(root)

    def find(self, spec: Spec) -> Artifact | None:
        """Return the artifact of `spec` if it is complete: its manifest fits, its shards are there.

        A manifest that is damaged, or a shard that is missing or of another size, is told in the
        log and counts as incomplete; `build` then repairs it.
        """
        try:
            manifest = Manifest.decode(self.place.read(f"{spec.folder}/{FILE}"), spec)
        except FileNotFoundError:
            return None
        except DamagedArtifact as e:
            log.warning("%s: %s; it is written again", spec.folder, e)
            self.place.remove(f"{spec.folder}/{FILE}")
            return None
        if bad := self._bad(manifest):
            log.warning(
                "%s: %d of %d shards are missing or damaged (%s ...); computing only these",
                spec.folder, len(bad), len(manifest.shards), bad[0][:10],
            )  # fmt: skip
            return None
        return Artifact(self.place, manifest)

    def open(self, stage: str, key: str) -> Artifact:
        """Return the complete artifact of a stage and key.

        Raises:
            DamagedArtifact: there is none, or its manifest is damaged.
        """
        folder = f"{stage}/{key}"
        if not _FOLDER.fullmatch(folder):  # keys come out of manifests and records too
            raise DamagedArtifact(f"{folder[:80]!r} is no artifact's folder")
        try:
            manifest = Manifest.decode(self.place.read(f"{folder}/{FILE}"))
        except FileNotFoundError:
            raise DamagedArtifact(f"{self.place.root}/{folder} is gone") from None
        if (manifest.stage, manifest.key) != (stage, key):
            raise DamagedArtifact(
                f"{self.place.root}/{folder} contains another artifact's manifest"
            )
        return Artifact(self.place, manifest)

    def forget(self, stage: str, key: str) -> None:
        """Remove an artifact, its manifest first, so that it is computed anew."""
        folder = f"{stage}/{key}"
        self.place.remove(f"{folder}/{FILE}")
        for name in self.place.sizes(folder):
            if SHARD_NAME.fullmatch(name):
                self.place.remove(f"{folder}/{name}")

    def commit(
        self,
        spec: Spec,
        shards: Iterable[Finished],
        facts: Mapping[str, Any],
    ) -> Artifact:
        """Write the manifest over finished shards; the artifact exists from then on.

        Of two commits that race the first wins, and both return the winner's artifact.
        """
        finished = list(shards)
        counts: dict[str, int] = {}
        for _, told in finished:
            for name, n in told["counts"].items():
                counts[name] = counts.get(name, 0) + n
        notes = list(dict.fromkeys(note for _, told in finished for note in told["notes"]))
        manifest = Manifest(
            stage=spec.stage,
            version=spec.version,
            key=spec.key,
            identity=dict(spec.identity),
            inputs=dict(spec.inputs),
            rows=sum(shard.rows for shard, _ in finished),
            counts=dict(sorted(counts.items())),
            shards=tuple(shard for shard, _ in finished),
            facts={**facts} | ({"notes": notes} if notes else {}),
        )
        name, data = f"{spec.folder}/{FILE}", manifest.encode()
        for _ in range(COMMITS):
            if self.place.create_exclusive(name, data):
                return Artifact(self.place, manifest)
            try:
                there = Manifest.decode(self.place.read(name), spec)
            except FileNotFoundError:
                continue  # removed meanwhile, by a run that found a shard of it damaged, or a gc
            except DamagedArtifact as e:
                log.warning("%s: %s; it is written again", spec.folder, e)
                break
            if there.shards == manifest.shards or not self._bad(there):
                return Artifact(self.place, there)
            break
        self.place.replace(name, data)
        return Artifact(self.place, manifest)

    def _bad(self, manifest: Manifest) -> list[str]:
        """Return the shards that are missing or of another size."""
        sizes = self.place.sizes(manifest.folder)
        return [s.name for s in manifest.shards if sizes.get(s.name) != s.bytes]

    def nearest_miss(self, spec: Spec) -> str:
        """Say which fields separate `spec` from the closest artifact of its stage ('' if none)."""
        wanted = {"version": spec.version, "identity": spec.identity, "inputs": spec.inputs}
        closest: list[str] | None = None
        for key in self.place.folders(spec.stage)[:NEIGHBOURS_READ]:
            try:
                found = Manifest.decode(self.place.read(f"{spec.stage}/{key}/{FILE}"))
            except (FileNotFoundError, DamagedArtifact, StorageError):
                continue  # an unfinished or damaged neighbour explains nothing
            there = {
                "version": found.version, "identity": found.identity, "inputs": found.inputs,
            }  # fmt: skip
            different = differences(there, wanted)
            if different and (closest is None or len(different) < len(closest)):
                closest = different
        return "; ".join(closest[:3]) if closest else ""
