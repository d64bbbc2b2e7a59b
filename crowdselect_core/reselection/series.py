"""A series of selections in a store: numbered records, and the pointer to the one that counts."""

import re

from crowdselect_core.errors import DamagedArtifact, SelectionError, StorageError, shown
from crowdselect_core.reselection.record import SelectionRecord
from crowdselect_core.store.admin.selection_records import POINTER, record_name
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.checksummed_json import dumps_checksummed, loads_checksummed
from crowdselect_core.store.names import SELECTIONS

_RECORD = re.compile(r"(?P<number>\d{6})\.json")


class Overtaken(Exception):
    """Another run has added a selection meanwhile; go on from that one."""


class Series:
    """The selections of one name.

    Args:
        store: where they are.
        name: of the series; a short name of letters, digits and hyphens (`ReselectConfig.series`).
    """

    def __init__(self, store: Store, name: str) -> None:
        self._place, self.name = store.place, name
        self._folder = f"{SELECTIONS}/{name}"

    def numbers(self) -> list[int]:
        """Return the numbers of the records, ascending."""
        names = (_RECORD.fullmatch(name) for name in self._place.sizes(self._folder))
        return sorted(int(match["number"]) for match in names if match)

    def latest(self) -> int | None:
        """Return the number of the selection that counts, None where there is none yet.

        Raises:
            StorageError: the pointer is damaged.
        """
        try:
            number = loads_checksummed(self._place.read(f"{self._folder}/{POINTER}"))["number"]
            if type(number) is not int:
                raise TypeError(number)
            return number
        except FileNotFoundError:
            return None
        except (DamagedArtifact, KeyError, TypeError, ValueError):
            raise StorageError(
                f"{self._place.root}/{self._folder}/{POINTER} is damaged; name the selection that "
                f"counts by --rollback-to, one of {shown(self.numbers())}"
            ) from None

    def record(self, number: int) -> SelectionRecord:
        """Return a record.

        Raises:
            SelectionError: there is none of that number.
            StorageError: it is damaged.
        """
        name = f"{self._folder}/{record_name(number)}"
        try:
            return SelectionRecord.decode(self._place.read(name))
        except FileNotFoundError:
            raise SelectionError(
                f"series {self.name!r} has no selection {number} (found: {shown(self.numbers())})"
            ) from None
        except DamagedArtifact as e:
            raise StorageError(
                f"{self._place.root}/{name} {e}; go on from another one by --base, or remove the "
                "file and --rollback-to another one"
            ) from None

    def seen(self) -> tuple[int, int]:
        """Return the latest selection and the highest number, 0 where there is none."""
        return self.latest() or 0, max(self.numbers(), default=0)

    def add(self, record: SelectionRecord, seen: tuple[int, int]) -> int:
        """Write a record under the next number; the same one is there once.

        Args:
            record: of a selection that is complete.
            seen: what `seen` gave when the selection was begun.

        Raises:
            Overtaken: another selection was added or pointed to since.
        """
        latest, last = self.seen()
        for there in {last, latest} - {0}:
            if self.record(there) == record:  # a run that was killed before it moved the pointer
                return there
        if (latest, last) != seen:
            raise Overtaken(f"series {self.name!r} has another selection meanwhile")
        number = max(last, latest) + 1
        name, data = f"{self._folder}/{record_name(number)}", record.encode()
        if not self._place.create_exclusive(name, data) and self._place.read(name) != data:
            raise Overtaken(f"selection {number} of series {self.name!r} was added by another run")
        return number

    def advance(self, number: int, seen: tuple[int, int]) -> None:
        """Move the pointer to the selection that was just added.

        Raises:
            Overtaken: it points to another one than when the selection was begun.
        """
        if (latest := self.latest()) not in (None, seen[0], number):
            raise Overtaken(f"selection {latest} of series {self.name!r} is the latest meanwhile")
        self.point(number)

    def point(self, number: int) -> None:
        """Move the pointer to a selection that is complete."""
        self._place.replace(f"{self._folder}/{POINTER}", dumps_checksummed({"number": number}))
