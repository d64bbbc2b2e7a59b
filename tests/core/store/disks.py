"""A way past a store to its files, on the local disk or on the S3 server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from servers import S3Server


@dataclass(frozen=True)
class Disk:
    """The bytes under a store's root, read and damaged without the store's help."""

    fs: Any
    root: str

    def files(self, folder: str = "") -> dict[str, bytes]:
        """Every file by its path in the root."""
        return {name: self.fs.cat_file(f"{self.root}/{name}") for name in self._found(folder)}

    def stamps(self, folder: str = "") -> dict[str, Any]:
        """What changes when a file is written again: inode and nanosecond, or the S3 entry."""
        return {name: _stamp(info) for name, info in self._found(folder).items()}

    def _found(self, folder: str) -> dict[str, Any]:
        top = f"{self.root}/{folder}".rstrip("/")
        if not self.fs.exists(top):
            return {}
        found = self.fs.find(top, detail=True)
        files = {p: info for p, info in found.items() if info["type"] == "file"}
        return {p.removeprefix(f"{self.root}/"): info for p, info in files.items()}

    def write(self, name: str, data: bytes) -> None:
        """Put bytes there, whatever was there."""
        self.fs.makedirs(f"{self.root}/{name}".rsplit("/", 1)[0], exist_ok=True)
        self.fs.pipe_file(f"{self.root}/{name}", data)

    def flip(self, name: str, at: int = 100) -> None:
        """Change one byte; the size stays."""
        data = bytearray(self.fs.cat_file(f"{self.root}/{name}"))
        data[at] ^= 1
        self.write(name, bytes(data))

    def remove(self, name: str) -> None:
        """Take a file away."""
        self.fs.rm_file(f"{self.root}/{name}")


def _stamp(info: Any) -> Any:
    if "ino" in info:
        return info["ino"], Path(info["name"]).stat().st_mtime_ns
    return info["ETag"], info["LastModified"]


def disk_of(root: str, request: pytest.FixtureRequest) -> Disk:
    """Return what lies under a root."""
    if root.startswith("s3://"):
        server: S3Server = request.getfixturevalue("s3")
        return Disk(server.file_system(), root.removeprefix("s3://"))
    return Disk(fsspec.filesystem("file"), root)
