"""Records of selections as the store sees them: which artifacts they name, and what is wrong.

`selections/<series>/` holds numbered records, and `latest.json` that names the one which counts.
What they mean is told in `crowdselect_core.reselection`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.admin.inventory import Inventory
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.checksummed_json import loads_checksummed
from crowdselect_core.store.names import is_record

POINTER = "latest.json"
STANDS_ON = ("artifacts", "references", "parts", "zoos")  # the fields of a record that name some
_REFERENCE = re.compile(r"[a-z][a-z0-9_-]*/[0-9a-f]{64}")


@dataclass(frozen=True)
class Read:
    """A record or a pointer that was read.

    Args:
        name: the file.
        damage: what is wrong with its bytes ('' where they are whole).
        lost: of a pointer: the record that it names and that is not there.
        body: what it holds.
    """

    name: str
    damage: str = ""
    lost: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> set[str]:
        """Everything in it that could be an artifact, wherever it stands."""
        return {text for text in texts(self.body) if _REFERENCE.fullmatch(text)}

    @property
    def stands_on(self) -> set[str]:
        """The artifacts that the selection stands on."""
        told = [self.body.get(name) for name in STANDS_ON]
        return {text for text in texts(told) if _REFERENCE.fullmatch(text)}

    @property
    def is_pointer(self) -> bool:
        """Whether it names a record, and no artifacts."""
        return self.name.endswith(f"/{POINTER}")


def records(place: StorageBackend, layout: Inventory) -> Iterator[Read]:
    """Read every record and pointer of a store; one that was removed since it was listed is none.

    Raises:
        StorageError: the store cannot be read.
    """
    for name, data in place.read_all(r.name for r in layout.records if is_record(r.name)):
        if data is None:
            continue
        try:
            read = Read(name, body=loads_checksummed(data))
        except DamagedArtifact as e:
            read = Read(name, str(e))
        yield _pointed(place, read) if read.is_pointer and not read.damage else read


def _pointed(place: StorageBackend, pointer: Read) -> Read:
    """Tell whether the record that a pointer names is there, as it lies now."""
    folder, number = pointer.name.rpartition("/")[0], pointer.body.get("number")
    if type(number) is not int:
        return Read(pointer.name, "names no selection")
    record = record_name(number)
    lost = "" if record in place.sizes(folder) else f"{folder}/{record}"
    return Read(pointer.name, lost=lost, body=pointer.body)


def record_name(number: int) -> str:
    """Return the file's name of a record."""
    return f"{number:06d}.json"


def texts(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
