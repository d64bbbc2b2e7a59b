"""The manifest of an artifact: what it is and which shards it has, with their checksums.

A manifest is written last, so an artifact exists when its manifest does. It carries a checksum
of itself; one that does not fit is treated as absent. It holds no time and no machine, so that
the same work gives the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.names import SHARD_NAME, STAGE


@dataclass(frozen=True)
class Shard:
    """One parquet file of an artifact; its name ends in the sha256 of its bytes."""

    name: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an artifact is: its identity, its rows, what was counted, and its shards in order."""

    stage: str
    version: int
    key: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, str]
    rows: int
    counts: Mapping[str, int]
    shards: tuple[Shard, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """The artifact's folder in the store."""
        return f"{self.stage}/{self.key}"

    def encode(self) -> bytes:
        """Return the manifest's bytes, its own checksum included."""
        body = self._body()
        body["sha256"] = sha256(canonical(body)).hexdigest()
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    def _body(self) -> dict[str, Any]:
        return {**vars(self), "shards": [vars(shard) for shard in self.shards]}

    @classmethod
    def decode(cls, data: bytes, spec: Spec | None = None) -> Self:
        """Read a manifest and check it against its checksum and the artifact it should be of.

        Raises:
            DamagedArtifact: not JSON, a wrong checksum, another artifact's manifest, or a shard
                name that is none of ours.
        """
        try:
            body = json.loads(data)
            claimed = body.pop("sha256")
            shards = tuple(Shard(**shard) for shard in body.pop("shards"))
            manifest = cls(shards=shards, **body)
            fits = sha256(canonical(manifest._body())).hexdigest() == claimed
            # The checksum of what was read says nothing of spaces, escapes and the order of keys.
            is_as_written = manifest.encode() == data
            found = Spec(manifest.stage, manifest.version, manifest.identity, manifest.inputs)
            is_its_own = found.key == manifest.key
            names = [SHARD_NAME.fullmatch(shard.name) for shard in shards]
            counted = sum(shard.rows for shard in shards)
            sizes = [n for shard in shards for n in (shard.rows, shard.bytes)]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise DamagedArtifact(f"manifest is unreadable ({type(e).__name__})") from None
        if not fits:
            raise DamagedArtifact("manifest does not fit its own checksum")
        if not is_as_written:
            raise DamagedArtifact("manifest has other bytes than a store writes")
        if STAGE.fullmatch(manifest.stage) is None:
            raise DamagedArtifact("manifest names a stage that is none of this store's")
        if not is_its_own or (spec is not None and spec.key != manifest.key):
            raise DamagedArtifact("manifest is another artifact's")
        if any(n is None or n["sha256"] != s.sha256 for n, s in zip(names, shards, strict=True)):
            raise DamagedArtifact("manifest names a shard that is none of this store's")
        if [int(n["index"]) for n in names if n] != list(range(len(names))):
            raise DamagedArtifact("manifest has a duplicate shard, or another order")
        if counted != manifest.rows or any(type(n) is not int or n < 0 for n in sizes):
            raise DamagedArtifact("manifest counts rows or bytes that its shards cannot have")
        return manifest
