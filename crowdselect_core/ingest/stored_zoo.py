"""A zoo of the store as a data set: its shards, each checked before it is read."""

import io
import re
from threading import Lock
from typing import Any

from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.files import DataFile
from crowdselect_core.store.artifacts import Artifact, Store

_ARTIFACT = re.compile(r"(?P<root>.+)/(?P<stage>zoos?)/(?P<key>[0-9a-f]{64})/?")
_KEPT = 2  # shards whose bytes are kept for the next read


def is_artifact(path: str) -> bool:
    """Tell a path STORE/zoo/KEY, or STORE/zoos/KEY: several zoos, one behind the other."""
    return _ARTIFACT.fullmatch(path) is not None


def artifact_files(path: str) -> list[DataFile]:
    """Return the shards of a zoo of a store, or of several.

    Raises:
        DatasetError: the path is no artifact's.
        DamagedArtifact: one is not there, or its manifest is damaged.
    """
    match = _ARTIFACT.fullmatch(path)
    if match is None:
        raise DatasetError(f"{path}: is no zoo of a store, expected STORE/zoo/KEY")
    store = Store(match["root"])
    artifact = store.open(match["stage"], match["key"])
    if match["stage"] == "zoo":
        return _shards_of(path, artifact)
    keys = sorted(artifact.manifest.inputs.items())
    zoos = [(f"{match['root']}/zoo/{key}", store.open("zoo", key)) for _, key in keys]
    return [file for path, zoo in zoos for file in _shards_of(path, zoo)]


def _shards_of(path: str, artifact: Artifact) -> list[DataFile]:
    files = _Shards(artifact)
    return [
        DataFile(
            files,
            shard.name,
            f"{path}/{shard.name[:10]}",
            {"size": shard.bytes, "sha": shard.sha256},
        )
        for shard in artifact.manifest.shards
    ]


class _Shards:
    """The part of a file system that a DataFile uses, over an artifact's checked shards."""

    protocol = "artifact"

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._numbers = {shard.name: i for i, shard in enumerate(artifact.manifest.shards)}
        self._kept: dict[str, bytes] = {}
        self._lock = Lock()

    def open(self, name: str, mode: str = "rb") -> Any:
        """Return a shard for reading; DamagedArtifact where its bytes are not its own."""
        with self._lock:
            data = self._kept.pop(name, None)
            if data is None:
                data = self._artifact.bytes(self._numbers[name])
            self._kept[name] = data
            while len(self._kept) > _KEPT:
                self._kept.pop(next(iter(self._kept)))
        return io.BytesIO(data)
