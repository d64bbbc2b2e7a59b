"""What is in a store: every artifact with its rows and bytes, one of them in full, two compared."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crowdselect_core.errors import DamagedArtifact, StorageError, nearest, shown
from crowdselect_core.store.identity import differences
from crowdselect_core.store.layout import SELECTIONS, Folder, Layout, sort_out
from crowdselect_core.store.manifest import FILE, Manifest
from crowdselect_core.store.place import Place

COMPLETE, UNFINISHED, BROKEN, CELLS = "complete", "unfinished", "damaged", "cells"


@dataclass(frozen=True)
class Entry:
    """A folder of a store.

    Args:
        stage: its stage.
        key: its key.
        state: complete, unfinished (no manifest), damaged (the manifest, or a shard by its size),
            or cells.
        rows: of a complete artifact; those of cells are not counted.
        files: shards or segments.
        bytes: of all files.
    """

    stage: str
    key: str
    state: str
    rows: int | None
    files: int
    bytes: int


@dataclass(frozen=True)
class Listed:
    """Everything in a store."""

    entries: list[Entry]
    records: list[str]  # of selections

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"artifacts": [asdict(e) for e in self.entries], SELECTIONS: self.records}


def listed(place: Place) -> Listed:
    """List a store: one listing of all files, and all manifests at once.

    Raises:
        StorageError: the store cannot be read.
    """
    layout = sort_out(place.walk())
    manifests = _manifests(place, layout)
    entries = [_entry(f, manifests.get(f.name)) for f in layout.folders.values()]
    return Listed(entries, [record.name for record in layout.records])


def _manifests(place: Place, layout: Layout) -> dict[str, Manifest]:
    folders = [f for f in layout.folders.values() if f.is_committed and not f.is_cells]
    whole = {}
    for name, data in place.read_all([f"{f.name}/{FILE}" for f in folders]):
        try:
            manifest = Manifest.decode(data) if data is not None else None
        except DamagedArtifact:
            continue  # its entry says so
        if manifest is not None and name == f"{manifest.folder}/{FILE}":
            whole[manifest.folder] = manifest
    return whole


def _entry(folder: Folder, manifest: Manifest | None) -> Entry:
    data = folder.data()
    state, rows, files = UNFINISHED, None, len(data)
    if folder.is_cells:
        state = CELLS
    elif manifest is not None:
        sizes = {name: file.size for name, file in data.items()}
        fits = all(sizes.get(s.name) == s.bytes for s in manifest.shards)
        state, rows, files = COMPLETE if fits else BROKEN, manifest.rows, len(manifest.shards)
    elif folder.is_committed:
        state = BROKEN
    return Entry(folder.stage, folder.key, state, rows, files, folder.bytes)


def lines(found: Listed) -> Iterator[str]:
    """Say what is in a store, by stage."""
    stages: dict[str, list[Entry]] = {}
    for entry in found.entries:
        stages.setdefault(entry.stage, []).append(entry)
    for stage, entries in stages.items():
        rows = sum(e.rows or 0 for e in entries)
        told = f"{rows:,} rows, " if any(e.rows is not None for e in entries) else ""
        size = amount(sum(e.bytes for e in entries))
        yield f"{stage} ({len(entries):,}): {told}{size}"
        for e in entries:
            counted = "" if e.rows is None else f"{e.rows:,} rows"
            what = "segments" if e.state == CELLS else "shards"
            yield (
                f"  {e.key[:12]}  {e.state:<10}  {counted:>16}  {e.files:>6,} {what:<8}  "
                f"{amount(e.bytes):>10}"
            )
    if found.records:
        yield f"{SELECTIONS}: {len(found.records):,} records"
    if not found.entries and not found.records:
        yield "nothing is here"


def amount(size: float) -> str:
    """Return bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes all")


def opened(place: Place, prefix: str) -> Manifest:
    """Return the manifest of the one artifact whose key, or stage/key, begins with `prefix`.

    Raises:
        StorageError: none, or more than one, or the artifact is unfinished or damaged.
    """
    layout = sort_out(place.walk())
    folders = [f for f in layout.folders.values() if not f.is_cells]
    found = [f for f in folders if f.key.startswith(prefix) or f.name.startswith(prefix)]
    names = [f"{f.stage}/{f.key[:12]}" for f in found]
    if not found:
        near = nearest(prefix, [n for f in folders for n in (f.key[:12], f.stage)])
        raise StorageError(
            f"{place.root}: no artifact's key begins with {shown([prefix])}{near}; ls lists them"
        )
    if len(found) > 1:
        raise StorageError(
            f"{place.root}: {len(found)} artifacts begin with {shown([prefix])}: "
            f"{shown(names, 5)}; give more of the key"
        )
    [folder] = found
    if not folder.is_committed:
        raise StorageError(
            f"{place.root}/{folder.name} is unfinished: it has {len(folder.data())} shards and no "
            "manifest; run its flow again"
        )
    try:
        manifest = Manifest.decode(place.read(f"{folder.name}/{FILE}"))
    except (DamagedArtifact, FileNotFoundError) as e:
        raise StorageError(
            f"{place.root}/{folder.name}: {e}; run verify --remove, then its flow again"
        ) from None
    if manifest.folder != folder.name:
        raise StorageError(
            f"{place.root}/{folder.name} holds the manifest of {manifest.folder}; run verify "
            "--remove, then its flow again"
        )
    return manifest


def compared(one: Manifest, other: Manifest) -> list[str]:
    """Name the fields that separate two artifacts, as 'field: one -> other'."""
    return differences(_named(one), _named(other))


def _named(manifest: Manifest) -> Mapping[str, Any]:
    """Return all that makes a key."""
    return {
        "stage": manifest.stage,
        "version": manifest.version,
        "identity": manifest.identity,
        "inputs": manifest.inputs,
    }
