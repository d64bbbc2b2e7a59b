"""What lies where in a store: the folders of artifacts and of cells, passing files, the rest.

A name is taken for one of ours only if all of it has our form, so that whatever somebody put into
a bucket (`..`, absolute names, line ends) is neither read, nor removed, nor shown as it is.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from crowdselect_core.store.manifest import FILE, SHARD_NAME
from crowdselect_core.store.place import BUILDING, PROBE, TEMPORARY, Found

CELLS = ("generated", "scored")  # stages whose folders hold cells
SELECTIONS = "selections"  # records of selections; written and read elsewhere
IDENTITY = "identity.json"  # of cells: what the folder's name was made of
PACE = "pace.json"  # of cells: how fast they were made
ASKING = re.compile(r"asking-(?P<id>[0-9a-f]{32})-(?P<beat>\d+)\.txt")  # of cells: a live run's
SEGMENT = re.compile(r"cells-(?P<sha256>[0-9a-f]{64})\.parquet")

RESULTS = {  # what a run writes into OUT
    "selection.parquet", "ranking.parquet", "train.jsonl", "sharegpt.jsonl", "alpaca.jsonl",
    "pairs.jsonl", "dataset_info.json", "membership.parquet", "drift.json", "manifest.json",
    "responses.parquet", "generation.json", "scores.parquet", "scoring.json",
}  # fmt: skip

_RECORD = re.compile(rf"{SELECTIONS}/[a-z0-9-]+/(?:\d{{6}}|latest)\.json")
_FOLDER = re.compile(r"(?P<stage>[a-z][a-z0-9_-]*)/(?P<key>[0-9a-f]{64})/(?P<file>[^/]+)")
_PASSING = re.compile(
    rf"(?:{SELECTIONS}/[a-z0-9-]+/|(?:[a-z][a-z0-9_-]*/)?(?:[0-9a-f]{{64}}/)?)"
    rf"(?:(?:{re.escape(TEMPORARY)}|{re.escape(PROBE)})[0-9a-z-]+|asking-[0-9a-f]{{32}}-\d+\.txt)"
)


@dataclass
class Folder:
    """The files of one artifact, finished or not, or of one model's cells."""

    stage: str
    key: str
    files: dict[str, Found] = field(default_factory=dict)  # by their name in the folder

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

    def data(self) -> dict[str, Found]:
        """Its shards or segments."""
        form = SEGMENT if self.is_cells else SHARD_NAME
        return {name: file for name, file in self.files.items() if form.fullmatch(name)}


@dataclass
class Layout:
    """Everything that lies in a store."""

    folders: dict[str, Folder]  # by stage/key, in that order
    passing: list[Found]  # what a write leaves that was killed, or one that goes on
    records: list[Found]  # of selections
    foreign: list[Found]  # no file of a store


def sort_out(files: Iterable[Found]) -> Layout:
    """Tell the files of a store apart by their names."""
    folders: dict[str, Folder] = {}
    layout = Layout({}, [], [], [])
    for file in files:
        match = _FOLDER.fullmatch(file.name)
        if _PASSING.fullmatch(file.name):
            layout.passing.append(file)
        elif file.name.startswith(f"{SELECTIONS}/"):
            layout.records.append(file)
        elif match is None or not _is_ours(match["stage"], match["file"]):
            layout.foreign.append(file)
            continue
        if match and match["stage"] != SELECTIONS:
            name = f"{match['stage']}/{match['key']}"
            folder = folders.setdefault(name, Folder(match["stage"], match["key"]))
            folder.files[match["file"]] = file
    layout.folders = dict(sorted(folders.items()))
    return layout


def is_sign(name: str) -> bool:
    """Tell what somebody leaves in a folder while he works there."""
    file = name.rpartition("/")[2]
    return file.startswith(BUILDING) or ASKING.fullmatch(file) is not None


def is_record(name: str) -> bool:
    """Tell the name of a record of a selection, or of a pointer to one."""
    return _RECORD.fullmatch(name) is not None


def _is_ours(stage: str, file: str) -> bool:
    if stage in CELLS:
        return file in (IDENTITY, PACE) or SEGMENT.fullmatch(file) is not None
    return file == FILE or SHARD_NAME.fullmatch(file) is not None


def is_written(name: str) -> bool:
    """Tell a name that a run writes below a store or an OUT, also if both are a whole bucket."""
    match = _FOLDER.fullmatch(name)
    ours = match is not None and _is_ours(match["stage"], match["file"])
    return ours or name in RESULTS or is_record(name)


def plain(text: str) -> str:
    """Return a name as a terminal may show it: on one line, its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
