"""A folder of files as an artifact: its shards hold the files block by block.

The shards are the store's own (parquet, named by their sha256, manifest last), so `verify`, `gc`,
repair and both backends treat a checkpoint or a model as they treat every artifact; only a block
is in memory at a time. The facts name each file with its size and sha256.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import polars as pl

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

BLOCK = 32 << 20  # bytes of a file that a shard holds at most
SCHEMA = {"path": pl.String, "offset": pl.Int64, "bytes": pl.Binary}

# No name leads out of the folder: names are read from a store that others may write to.
_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")

Files = dict[str, dict[str, Any]]  # by name: bytes, sha256


def pack(
    store: Store, spec: Spec, folder: Path, names: Sequence[str], facts: Mapping[str, Any]
) -> Artifact:
    """Store files of a folder as the artifact that `spec` names.

    Shards of an earlier attempt count only if they hold the same files: the cut of the plan is
    made of their checksums.

    Args:
        store: where it is stored.
        spec: its name.
        folder: where the files are.
        names: of the files, relative to the folder.
        facts: what the manifest says beside the files.

    Raises:
        StorageError: the store cannot be written.
    """
    files: Files = {}
    for name in sorted(names):
        if not _NAME.fullmatch(name):
            raise ValueError(f"file {name!r}: expected letters, digits, '_', '-', '.' and '/'")
        with (folder / name).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        files[name] = {"bytes": (folder / name).stat().st_size, "sha256": digest}
    blocks = list(_blocks(files))

    def compute(index: int) -> ShardResult:
        name, offset = blocks[index]
        with (folder / name).open("rb") as file:
            file.seek(offset)
            data = file.read(BLOCK)
        row = {"path": [name], "offset": [offset], "bytes": [data]}
        return ShardResult(pl.DataFrame(row, schema=SCHEMA))

    cut = {"files": files, "block": BLOCK}
    return build(store, spec, Plan(len(blocks), compute, cut, lambda: {**facts, "files": files}))


def unpack(artifact: Artifact, folder: Path) -> Files:
    """Write the files of an artifact into a folder, and return their sizes and checksums.

    Raises:
        DamagedArtifact: a shard is missing or damaged, or the files are not those that the
            manifest names.
    """
    files = _named(artifact)
    hashes = {name: sha256() for name in files}
    written = dict.fromkeys(files, 0)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    for shard in artifact.frames():
        if dict(shard.schema) != SCHEMA:
            raise _unfit(artifact, "has shards without files")
        for name, offset, data in shard.iter_rows():
            if written.get(name) != offset:
                raise _unfit(artifact, "has blocks that do not follow each other")
            with (folder / name).open("ab") as file:
                file.write(data)
            written[name] += len(data)
            hashes[name].update(data)
    for name, stated in files.items():
        if stated != {"bytes": written[name], "sha256": hashes[name].hexdigest()}:
            raise _unfit(artifact, f"holds another {name} than its manifest names")
    return files


def is_name(name: str) -> bool:
    """Say whether a file may have this name in an artifact."""
    return _NAME.fullmatch(name) is not None


def _blocks(files: Files) -> Iterator[tuple[str, int]]:
    for name, stated in files.items():
        for offset in range(0, max(int(stated["bytes"]), 1), BLOCK):
            yield name, offset


def _named(artifact: Artifact) -> Files:
    found = artifact.manifest.facts.get("files")
    named = isinstance(found, dict) and all(
        isinstance(stated, dict) and _NAME.fullmatch(name) for name, stated in found.items()
    )
    if not named or not isinstance(found, dict):
        raise _unfit(artifact, "names no files")
    return found


def _unfit(artifact: Artifact, why: str) -> DamagedArtifact:
    return DamagedArtifact(f"{artifact.place.root}/{artifact.manifest.folder} {why}")
