"""The segments of one folder of cells as files: listed, read and checked, written, removed."""

import io
import logging
from collections.abc import Container, Mapping
from hashlib import sha256
from threading import Lock

import polars as pl

from crowdselect_core.store import safe_parquet
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.cache import identity_file
from crowdselect_core.store.cache.key_index import KEY, WIDTH
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.names import IDENTITY, INDEX, SEGMENT

log = logging.getLogger("crowdselect.store")

_made: dict[str, dict[str, int]] = {}
_making = Lock()


def _made_here(folder: str) -> dict[str, int]:
    """Return the segments of a folder that this process made and has not merged, by size.

    A table is laid out by other objects than those that made its cells. What they commit is found
    by them at once, so that a listing that lags behind costs nothing that was paid for.
    """
    with _making:
        return _made.setdefault(folder, {})


class SegmentFiles:
    """The segments of one folder.

    Args:
        place: of the store.
        spec: whose cells they hold; its key is the folder.
        schema: their columns, the key among them.

    Attributes:
        index_files: the files of keys beside them, by size, as they were last listed.
        strays: segments of other cells that somebody put here.
    """

    def __init__(
        self,
        place: StorageBackend,
        spec: Spec,
        schema: Mapping[str, type[pl.DataType] | pl.DataType],
    ) -> None:
        self._place, self._spec, self._schema = place, spec, schema
        self._folder = f"{place.root}/{spec.folder}"
        self._has_identity = False  # whether an identity.json is there
        self.index_files: dict[str, int] = {}
        self.strays: set[str] = set()

    def listed(self, known: Container[str]) -> dict[str, int]:
        """List the segments, and those that this process made and a lagging server does not list.

        Of the latter, one that cannot be read was merged by somebody else, and is forgotten.

        Args:
            known: segments that were read already.
        """
        sizes = self._place.sizes(self._spec.folder)
        self._has_identity = IDENTITY in sizes
        listed = {name: size for name, size in sizes.items() if SEGMENT.fullmatch(name)}
        self.index_files = {name: size for name, size in sizes.items() if INDEX.fullmatch(name)}
        mine = _made_here(self._folder)
        for name in list(mine):
            if name in listed:
                continue
            if name in known or self._is_there(name):
                listed[name] = mine[name]
            else:
                mine.pop(name, None)
        return listed

    def write_identity(self) -> None:
        """Write whose cells these are, unless that is there."""
        if not self._has_identity:
            self._place.create_exclusive(
                f"{self._spec.folder}/{IDENTITY}", identity_file.encode(self._spec)
            )
            self._has_identity = True

    def read(self, name: str, columns: list[str] | None = None) -> pl.DataFrame | None:
        """Read and check a segment; None for one of other cells, which is left aside.

        Raises:
            Unreadable: it is damaged.
            FileNotFoundError: it is not there any more.
        """
        data = self._place.read(f"{self._spec.folder}/{name}")
        match = SEGMENT.fullmatch(name)
        if match is None or sha256(data).hexdigest() != match["sha256"]:
            raise safe_parquet.Unreadable("is damaged (sha256 differs)")
        metadata = safe_parquet.read_metadata(data)
        if metadata and metadata.get("of") != self._spec.folder:
            self._set_aside(name)
            return None
        frame = safe_parquet.decode(data, columns, schema=self._schema)
        if not (frame[KEY].bin.size() == WIDTH).fill_null(False).all():
            raise safe_parquet.Unreadable(f"has keys that are not {WIDTH} bytes")
        return frame

    def write(self, frame: pl.DataFrame) -> tuple[str, int]:
        """Write rows as a segment that is named by its content; return its name and size."""
        buffer = io.BytesIO()
        told = canonical({"of": self._spec.folder}).decode()
        frame.write_parquet(buffer, compression="zstd", metadata={safe_parquet.MARK: told})
        data = buffer.getvalue()
        name = f"cells-{sha256(data).hexdigest()}.parquet"
        self._place.create_exclusive(f"{self._spec.folder}/{name}", data)
        _made_here(self._folder)[name] = len(data)
        return name, len(data)

    def remove(self, name: str) -> None:
        """Remove a segment whose rows stand elsewhere, or that is damaged."""
        _made_here(self._folder).pop(name, None)
        self._place.remove(f"{self._spec.folder}/{name}")

    def _set_aside(self, name: str) -> None:
        """Leave a segment of other cells aside; it was paid for, so it stays where it is."""
        if name not in self.strays:
            log.warning("%s/%s belongs to other cells; it is left aside", self._spec.folder, name)
        self.strays.add(name)

    def _is_there(self, name: str) -> bool:
        try:
            self._place.read(f"{self._spec.folder}/{name}")
        except FileNotFoundError:
            return False
        return True
