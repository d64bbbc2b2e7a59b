"""What lies where in a store: the folders of artifacts and of cells, temporary files, the rest.

A name is taken for one of ours only if all of it has our form, so that whatever somebody put into
a bucket (`..`, absolute names, line ends) is neither read, nor removed, nor shown as it is.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from crowdselect_core.store.backend.base import FileInfo
from crowdselect_core.store.names import (
    CELLS,
    FILE,
    FOLDER_FILE,
    INDEX,
    SEGMENT,
    SELECTIONS,
    SHARD_NAME,
    TEMPORARY_FILE,
    is_ours,
    is_sign,
)


@dataclass
class Folder:
    """The files of one artifact, finished or not, or of one model's cells."""

    stage: str
    key: str
    files: dict[str, FileInfo] = field(default_factory=dict)  # by their name in the folder

    @property
    def name(self) -> str:
        """Its path under the root."""
        return f"{self.stage}/{self.key}"

    @property
    def is_cells(self) -> bool:
        """Whether it holds cells."""
        return self.stage in CELLS

    @property
    def is_committed(self) -> bool:
        """Whether it has a manifest."""
        return FILE in self.files

    @property
    def newest(self) -> float:
        """When its last file was written."""
        return max(file.modified for file in self.files.values())

    @property
    def bytes(self) -> int:
        """The bytes of all its files."""
        return sum(file.size for file in self.files.values())

    def data(self) -> dict[str, FileInfo]:
        """Its shards or segments."""
        form = SEGMENT if self.is_cells else SHARD_NAME
        return {name: file for name, file in self.files.items() if form.fullmatch(name)}

    def hashed(self) -> dict[str, FileInfo]:
        """Its files whose names end in their sha256: data, and the saved keys of segments."""
        saved = {n: f for n, f in self.files.items() if self.is_cells and INDEX.fullmatch(n)}
        return self.data() | saved


@dataclass
class Inventory:
    """Everything that lies in a store."""

    folders: dict[str, Folder]  # by stage/key, in that order
    temporary: list[FileInfo]  # what a write leaves that was killed, or one that goes on
    records: list[FileInfo]  # of selections
    foreign: list[FileInfo]  # no file of a store


def sort_out(files: Iterable[FileInfo]) -> Inventory:
    """Tell the files of a store apart by their names."""
    folders: dict[str, Folder] = {}
    layout = Inventory({}, [], [], [])
    for file in files:
        match = FOLDER_FILE.fullmatch(file.name)
        if TEMPORARY_FILE.fullmatch(file.name):
            layout.temporary.append(file)
        elif file.name.startswith(f"{SELECTIONS}/"):
            layout.records.append(file)
        elif match is None or not is_ours(match["stage"], match["file"]):
            layout.foreign.append(file)
            continue
        if match and match["stage"] != SELECTIONS:
            name = f"{match['stage']}/{match['key']}"
            folder = folders.setdefault(name, Folder(match["stage"], match["key"]))
            folder.files[match["file"]] = file
    layout.folders = dict(sorted(folders.items()))
    return layout


LIVING = 600.0  # seconds after which one who left a sign counts as dead; clocks may differ a little


def active_writers(layout: Inventory) -> list[FileInfo]:
    """Return the signs of life that are young."""
    return [f for f in layout.temporary if is_sign(f.name) and f.modified > time.time() - LIVING]
