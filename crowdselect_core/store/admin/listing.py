"""What is in a store: every artifact with its rows and bytes, one of them in full, two compared."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from crowdselect_core.errors import DamagedArtifact, StorageError, nearest, shown
from crowdselect_core.store.admin.inventory import Folder, Inventory, sort_out
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.cache import identity_file
from crowdselect_core.store.identity import Spec, differences, fields, short
from crowdselect_core.store.manifest import Manifest
from crowdselect_core.store.names import FILE, IDENTITY, SELECTIONS

COMPLETE, UNFINISHED, BROKEN, CELLS = "complete", "unfinished", "damaged", "cells"
SHORT = 100  # characters of an identity in a line


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
        made_of: what the key was made of, where that can be told: version, identity, inputs.
    """

    stage: str
    key: str
    state: str
    rows: int | None
    files: int
    bytes: int
    made_of: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """Everything in a store."""

    entries: list[Entry]
    records: list[str]  # of selections

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"artifacts": [asdict(e) for e in self.entries], SELECTIONS: self.records}


def listed(place: StorageBackend) -> Listed:
    """List a store: one listing of all files, and all manifests at once.

    Raises:
        StorageError: the store cannot be read.
    """
    layout = sort_out(place.walk())
    whole = _whole(place, layout)
    entries = [_entry(f, whole.get(f.name)) for f in layout.folders.values()]
    return Listed(entries, [record.name for record in layout.records])


def _whole(place: StorageBackend, layout: Inventory) -> dict[str, Manifest | Spec]:
    """Read what each folder says of itself: a manifest, or whose cells it holds."""
    owned = [f for f in layout.folders.values() if f.is_cells and IDENTITY in f.files]
    folders = [f for f in layout.folders.values() if f.is_committed and not f.is_cells]
    names = {f"{f.name}/{FILE}": f for f in folders} | {f"{f.name}/{IDENTITY}": f for f in owned}
    whole: dict[str, Manifest | Spec] = {}
    for name, data in place.read_all(names):
        if data is None:
            continue
        try:
            whole[names[name].name] = _decoded(names[name], data)
        except DamagedArtifact:
            continue  # an artifact's entry says so; of cells, verify does
    return whole


def _decoded(folder: Folder, data: bytes) -> Manifest | Spec:
    if folder.is_cells:
        return identity_file.decode(folder.name, data)
    manifest = Manifest.decode(data)
    if manifest.folder != folder.name:
        raise DamagedArtifact(f"contains the manifest of {manifest.folder}")
    return manifest


def _entry(folder: Folder, told: Manifest | Spec | None) -> Entry:
    data = folder.data()
    state, rows, files = UNFINISHED, None, len(data)
    if folder.is_cells:
        state = CELLS
    elif isinstance(told, Manifest):
        sizes = {name: file.size for name, file in data.items()}
        fits = all(sizes.get(s.name) == s.bytes for s in told.shards)
        state, rows, files = COMPLETE if fits else BROKEN, told.rows, len(told.shards)
    elif folder.is_committed:
        state = BROKEN
    made_of = _named(told) if told is not None else {}
    return Entry(folder.stage, folder.key, state, rows, files, folder.bytes, made_of)


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
        for e, apart in zip(entries, _separating(entries), strict=True):
            counted = "" if e.rows is None else f"{e.rows:,} rows"
            what = "segments" if e.state == CELLS else "shards"
            yield (
                f"  {e.key[:12]}  {e.state:<10}  {counted:>16}  {e.files:>6,} {what:<8}  "
                f"{amount(e.bytes):>10}  {apart}".rstrip()
            )
    if found.records:
        yield f"{SELECTIONS}: {len(found.records):,} records"
    if not found.entries and not found.records:
        yield "nothing is here"


def _separating(entries: list[Entry]) -> list[str]:
    """Return for each artifact of a stage the fields that separate it from the others, in short.

    One that is alone is told by its identity.
    """
    told = [fields(e.made_of) for e in entries]
    known = [one for one in told if one]
    names = [
        name
        for name in sorted({name for one in known for name in one})
        if (len(known) == 1 and name != "version")
        or any(one.get(name) != known[0].get(name) for one in known)
    ]
    return [_in_short({n: one[n] for n in names if n in one}) for one in told]


def _in_short(told: Mapping[str, Any]) -> str:
    text = ", ".join(f"{n.removeprefix('identity.')}={short(value)}" for n, value in told.items())
    return text if len(text) <= SHORT else f"{text[: SHORT - 3]}..."


def amount(size: float) -> str:
    """Return bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit takes all")


def opened(place: StorageBackend, prefix: str) -> Manifest | Spec:
    """Return the manifest of the one artifact whose key, or stage/key, begins with `prefix`.

    Of cells, which have no manifest, it is what their key was made of.

    Raises:
        StorageError: none, or more than one, or the artifact is unfinished or damaged.
    """
    folders = list(sort_out(place.walk()).folders.values())
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
            f"{shown(names, 5)}; use more characters of the key"
        )
    [folder] = found
    if folder.is_cells:
        return _cells(place, folder)
    if not folder.is_committed:
        raise StorageError(
            f"{place.root}/{folder.name} is unfinished: it has {len(folder.data())} shards and no "
            "manifest; run its flow again"
        )
    try:
        return _decoded(folder, place.read(f"{folder.name}/{FILE}"))
    except (DamagedArtifact, FileNotFoundError) as e:
        raise StorageError(
            f"{place.root}/{folder.name}: {e}; run verify --remove, then its flow again"
        ) from None


def _cells(place: StorageBackend, folder: Folder) -> Spec:
    try:
        return identity_file.decode(folder.name, place.read(f"{folder.name}/{IDENTITY}"))
    except FileNotFoundError:
        why = "is not there"
    except DamagedArtifact as e:
        why = f"{e}; run verify --remove"
    raise StorageError(
        f"{place.root}/{folder.name}/{IDENTITY} {why}; it comes back with the next run that makes "
        "such cells"
    )


def compared(one: Manifest | Spec, other: Manifest | Spec) -> list[str]:
    """Name the fields that separate two artifacts, as 'field: one -> other'."""
    return differences({"stage": one.stage, **_named(one)}, {"stage": other.stage, **_named(other)})


def _named(told: Manifest | Spec) -> dict[str, Any]:
    """Return all that makes a key, beside the stage."""
    return {"version": told.version, "identity": told.identity, "inputs": told.inputs}
