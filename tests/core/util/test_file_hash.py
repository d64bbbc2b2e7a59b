"""A file is hashed once a process, and again when it is another."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from crowdselect_core.util import file_hash
from crowdselect_core.util.file_hash import file_sha256


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in order."""
    found: list[Path] = []
    real = file_hash._hashed

    def hashed(path: Path) -> str:
        found.append(path)
        return real(path)

    monkeypatch.setattr(file_hash, "_hashed", hashed)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that was written a while ago."""
    return aged(tmp_path / "file", b"one")


def aged(path: Path, content: bytes, seconds: int = 1000) -> Path:
    path.write_bytes(content)
    os.utime(path, (seconds, seconds))
    return path


def test_one_file_is_read_once_by_whatever_name_and_thread(file: Path, read: list[Path]) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(file_sha256, [file, link, str(file), file.parent / "." / "file"] * 8))
    assert found == {sha256(b"one").hexdigest()}
    assert len(read) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda file: aged(file, b"more", 1000),
        lambda file: aged(file, b"two", 1001),
        lambda file: aged(file.with_name("new"), b"two", 1000).replace(file),
    ],
    ids=["size", "time", "inode"],
)
def test_a_file_that_was_changed_is_read_again(
    file: Path, read: list[Path], change: Callable[[Path], object]
) -> None:
    file_sha256(file)
    change(file)
    assert file_sha256(file) == sha256(file.read_bytes()).hexdigest()
    assert len(read) == 2


def test_a_file_that_was_written_just_now_is_not_trusted_to_stay(
    file: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hash.time, "time_ns", lambda: 1000 * 10**9 + 1)
    file_sha256(file)
    aged(file, b"two")  # of one size, within one tick of the clock
    assert file_sha256(file) == sha256(b"two").hexdigest()


def test_a_file_that_changes_while_it_is_read_is_read_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = file_hash._hashed

    def changed(path: Path) -> str:
        digest = real(path)
        aged(file, b"two", 2000)
        return digest

    monkeypatch.setattr(file_hash, "_hashed", changed)
    file_sha256(file)
    monkeypatch.setattr(file_hash, "_hashed", real)
    assert file_sha256(file) == sha256(b"two").hexdigest()


def test_a_file_that_takes_long_to_read_is_not_trusted_for_that(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000 * 10**9 + 1]  # within the tick in which it was written
    real = file_hash._hashed

    def slow(path: Path) -> str:
        digest = real(path)
        aged(file, b"two")  # what was read is still written, in the same tick
        now[0] += 10**9
        return digest

    monkeypatch.setattr(file_hash.time, "time_ns", lambda: now[0])
    monkeypatch.setattr(file_hash, "_hashed", slow)
    file_sha256(file)
    monkeypatch.setattr(file_hash, "_hashed", real)
    assert file_sha256(file) == sha256(b"two").hexdigest()


def test_what_cannot_be_read_is_an_error_each_time_and_then_none(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            file_sha256(tmp_path / "file")
    assert file_sha256(aged(tmp_path / "file", b"one")) == sha256(b"one").hexdigest()
