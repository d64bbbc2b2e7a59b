"""What no manifest needs: leftovers of killed writes and builds, and artifacts nobody names.

A build holds no lock, so age tells what is dead: nothing goes before it is old, and a folder is
spared while its newest file is young, for then somebody is building there. Cells and trained models
were paid for and are never garbage.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crowdselect_core.errors import DamagedArtifact, StorageError
from crowdselect_core.store.admin.inventory import Folder, Inventory, active_writers, sort_out
from crowdselect_core.store.admin.selection_records import records, texts
from crowdselect_core.store.backend.base import FileInfo, StorageBackend, Upload
from crowdselect_core.store.manifest import Manifest
from crowdselect_core.store.names import FILE, MODELS, SELECTIONS, SHARD_NAME

_KEY = re.compile(r"[0-9a-f]{64}")

TEMPORARY, UNNAMED, UNFINISHED = "temporary file", "shards no manifest names", "unfinished artifact"
UNUSED, UPLOAD = "artifact no selection needs", "unfinished upload"

_REMEDY = {  # of a pointer, of a record
    True: "name the selection that counts by flows.reselect --rollback-to",
    False: "remove it (its selection is lost then) and go on from another by --rollback-to",
}


@dataclass(frozen=True)
class Garbage:
    """Something that may go: a file, files of a folder, or an upload."""

    why: str
    name: str  # the file or the folder
    files: tuple[FileInfo, ...]
    modified: float  # when the newest of it was written
    upload: Upload | None = None

    @property
    def bytes(self) -> int:
        """The bytes of its files; those of an upload are not known."""
        return sum(file.size for file in self.files)


def garbage(place: StorageBackend, before: float, *, unused: bool = False) -> list[Garbage]:
    """Find what no manifest needs and is older than `before`.

    Args:
        place: the store.
        before: seconds since 1970; what was written later is spared.
        unused: also artifacts that no record of a selection needs.

    Raises:
        StorageError: the store cannot be read; with `unused`: a run is at work, there is no
            record, or one that is damaged.
    """
    layout = sort_out(place.walk())
    if unused and (signs := active_writers(layout)):
        where = signs[0].name.rpartition("/")[0]
        raise StorageError(
            f"{place.root}: a run is at work here ({where}), and what it needs is in no record "
            "yet; wait until it ends (ten minutes after a kill)"
        )
    found = [
        Garbage(TEMPORARY, file.name, (file,), file.modified)
        for file in layout.temporary
        if file.modified < before
    ]
    old = [f for f in layout.folders.values() if not f.is_cells and f.newest < before]
    manifests = _manifests(place, layout.folders.values() if unused else old)
    needed = _needed(place, layout, manifests) if unused else None
    for folder in old:
        found += _of_folder(folder, manifests.get(folder.name), needed)
    found += [
        Garbage(UPLOAD, upload.name, (), upload.begun, upload)
        for upload in place.uploads()
        if upload.begun < before
    ]
    return found


def delete(place: StorageBackend, found: Iterable[Garbage], before: float) -> Iterator[Garbage]:
    """Remove garbage, each only if it still is when its turn comes; yield what went."""
    for one in found:
        if one.upload is not None:
            place.abort(one.upload)
            yield one
        elif one.why == TEMPORARY:
            folder = one.name.rpartition("/")[0]
            if folder and _is_renewed(place, folder, one.name, before):
                continue
            place.remove(one.name)
            if folder:
                place.prune(folder)
            yield one
        elif gone := _remove_files(place, one, before):
            yield gone


def _is_renewed(place: StorageBackend, folder: str, name: str, before: float) -> bool:
    """Look at a temporary file again: a sign of life may be young by now."""
    return any(file.name == name and file.modified >= before for file in place.walk(folder))


def _remove_files(place: StorageBackend, one: Garbage, before: float) -> Garbage | None:
    """Look at the folder again, then remove its files, a manifest first."""
    folder = sort_out(place.walk(one.name)).folders.get(one.name)
    if folder is None or folder.newest >= before:
        return None  # somebody builds there now
    manifest = _manifests(place, [folder]).get(folder.name)
    if one.why == UNUSED:
        again = _whole(folder) if manifest is not None else []
    else:
        again = [g for g in _of_folder(folder, manifest, None) if g.why == one.why]
    if not again:
        return None
    [now] = again
    for file in now.files:
        place.remove(file.name)
    place.prune(one.name)
    return now


def _of_folder(folder: Folder, manifest: Manifest | None, needed: set[str] | None) -> list[Garbage]:
    """Tell what of an old folder is garbage."""
    if folder.is_committed and manifest is None:
        return []  # damaged or being written: a matter of verify
    if manifest is not None:
        if needed is not None and folder.name not in needed:
            return _whole(folder)
        named, why = {shard.name for shard in manifest.shards}, UNNAMED
    else:
        named, why = set(), UNFINISHED
    files = tuple(f for name, f in folder.data().items() if name not in named)
    return [Garbage(why, folder.name, files, folder.newest)] if files else []


def _whole(folder: Folder) -> list[Garbage]:
    names = [FILE, *sorted(name for name in folder.files if SHARD_NAME.fullmatch(name))]
    files = tuple(folder.files[name] for name in names)
    return [Garbage(UNUSED, folder.name, files, folder.newest)]


def _manifests(place: StorageBackend, folders: Iterable[Folder]) -> dict[str, Manifest]:
    """Return the whole manifests of folders that are their own."""
    names = [f"{f.name}/{FILE}" for f in folders if f.is_committed and not f.is_cells]
    whole: dict[str, Manifest] = {}
    for name, data in place.read_all(names):
        try:
            manifest = Manifest.decode(data) if data is not None else None
        except DamagedArtifact:
            continue  # told by verify; nothing of its folder goes
        if manifest is not None and f"{manifest.folder}/{FILE}" == name:
            whole[manifest.folder] = manifest
    return whole


def _needed(
    place: StorageBackend, layout: Inventory, manifests: Mapping[str, Manifest]
) -> set[str]:
    """Return the folders that records of selections name, trained models, and what made them."""
    by_key: dict[str, list[str]] = {}
    for folder in layout.folders.values():
        by_key.setdefault(folder.key, []).append(folder.name)
    trained = [f.name for f in layout.folders.values() if f.stage == MODELS]
    waiting = [*_recorded(place, layout), *trained]
    needed: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        there, manifest = layout.folders.get(name), manifests.get(name)
        if there is None or there.is_cells:
            continue
        if there.is_committed and manifest is None:
            raise StorageError(
                f"{place.root}/{name}/{FILE} is damaged, so the artifacts that selections "
                "need are unknown; run verify --remove first, then the selection again"
            )
        if manifest is not None:
            told = [dict(manifest.inputs), dict(manifest.identity), dict(manifest.facts)]
            waiting += [f for key in _keys(told) for f in by_key.get(key, [])]
    return needed


def _recorded(place: StorageBackend, layout: Inventory) -> set[str]:
    """Return every artifact that a record of a selection names.

    One that is damaged stops it: a digit that is another names another artifact, and the one that
    was meant would go.
    """
    named: set[str] = set()
    for read in records(place, layout):
        if wrong := read.damage or (read.lost and f"names {read.lost}, which is missing"):
            raise StorageError(
                f"{place.root}/{read.name} {wrong}, so the needed artifacts are unknown; "
                f"restore it from a copy, or {_REMEDY[read.is_pointer]}"
            )
        named |= read.named
    if not named:
        raise StorageError(
            f"{place.root}/{SELECTIONS} has no record that names an artifact, so every artifact "
            "would go; run flows.reselect first, or remove the store's folder yourself"
        )
    return named


def _keys(value: Any) -> set[str]:
    return {key for text in texts(value) for key in _KEY.findall(text)}
