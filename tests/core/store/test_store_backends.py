"""A place writes a file whole or not at all, once if asked to, and says in one line what fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
from command import ROOT
from disks import Disk
from servers import S3Server

from crowdselect_core.errors import ConfigError, StorageError, UserError
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.backend.open import open_backend

RACERS = 12


def test_of_twelve_writers_one_wins(root: str, disk: Disk) -> None:
    place, start = open_backend(root), Barrier(RACERS)

    def write(racer: int) -> bool:
        start.wait()
        return place.create_exclusive("stage/key/file", b"%d" % racer * 1000)

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(write, range(RACERS)))
    assert won.count(True) == 1
    assert disk.files() == {"stage/key/file": b"%d" % won.index(True) * 1000}


def test_create_leaves_what_is_there(root: str) -> None:
    place = open_backend(root)
    assert place.create_exclusive("a/file", b"first")
    assert not place.create_exclusive("a/file", b"second")
    assert place.read("a/file") == b"first"


def test_replace_takes_the_place_of_what_is_there(root: str, disk: Disk) -> None:
    place = open_backend(root)
    place.replace("a/file", b"first")
    place.replace("a/file", b"2nd")
    assert place.read("a/file") == b"2nd"
    place.replace_all({"a/file": b"third", "b": b"", "c/d/e": b"x"})
    assert disk.files() == {"a/file": b"third", "b": b"", "c/d/e": b"x"}


def test_what_is_not_there_reads_as_nothing(root: str) -> None:
    place = open_backend(root)
    with pytest.raises(FileNotFoundError):
        place.read("a/file")
    assert place.sizes("a") == {}
    assert place.folders("a") == []
    place.remove("a/file")


def test_what_goes_while_it_is_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    @contextmanager
    def late(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        """List a folder; what is called gone goes before anybody can look at it."""
        with real(path) as entries:
            listed = list(entries)
        for entry in listed:
            if entry.name == "gone":
                shutil.rmtree(entry.path) if entry.is_dir() else Path(entry.path).unlink()
        yield iter(listed)

    place = LocalBackend(str(tmp_path))
    monkeypatch.setattr(os, "scandir", late)
    for name in ("a/gone", "a/stays", "b/gone/file", "b/stays/file"):
        place.create_exclusive(name, b"x")
    assert place.sizes("a") == {"stays": 1}
    assert place.folders("b") == ["stays"]
    place.create_exclusive("a/gone", b"x")
    assert [found.name for found in place.walk()] == ["a/stays", "b/stays/file"]


def test_listing_tells_files_from_folders(root: str) -> None:
    place = open_backend(root)
    for name in ("s/one/f", "s/two/f", "s/note"):
        place.create_exclusive(name, b"1234")
    assert place.sizes("s") == {"note": 4}
    assert place.sizes("s/one") == {"f": 4}
    assert sorted(place.folders("s")) == ["one", "two"]
    place.remove("s/note")
    assert place.sizes("s") == {}


def test_a_listing_is_never_an_old_one(root: str, disk: Disk) -> None:
    place = open_backend(root)
    place.create_exclusive("s/a", b"1")
    assert place.sizes("s") == {"a": 1}
    disk.write("s/b", b"12")  # somebody else writes
    assert place.sizes("s") == {"a": 1, "b": 2}


def test_check_writable_leaves_nothing(root: str, disk: Disk) -> None:
    open_backend(root).check_writable()
    assert disk.files() == {}


@pytest.mark.parametrize("url", ["s3://user:marked@bucket/a", "s3://MARKED@bucket/a"])
def test_a_url_with_credentials_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_backend(url)
    assert "marked" not in str(caught.value).lower()


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(StorageError, match="nosuch://"):
        open_backend("nosuch://bucket/a").read("x")


def test_half_an_upload_is_invisible(s3: S3Server) -> None:
    """What a killed process leaves of a large file: parts on the server, and no file."""
    place = open_backend(f"s3://{s3.bucket}/uploads")
    place.create_exclusive("stage/key/whole", b"1")
    fs = s3.file_system()
    target = {"Bucket": s3.bucket, "Key": "uploads/stage/key/half"}
    made = fs.call_s3("create_multipart_upload", **target)
    fs.call_s3(
        "upload_part", **target, UploadId=made["UploadId"], PartNumber=1, Body=bytes(5 << 20)
    )
    assert place.sizes("stage/key") == {"whole": 1}
    assert place.folders("stage") == ["key"]
    with pytest.raises(FileNotFoundError):
        place.read("stage/key/half")
    assert place.create_exclusive("stage/key/half", b"2")
    assert place.read("stage/key/half") == b"2"
    fs.call_s3("abort_multipart_upload", **target, UploadId=made["UploadId"])
    assert place.sizes("stage/key") == {"whole": 1, "half": 1}


# From here on: the local disk.


def left(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def broken_fsync(monkeypatch: pytest.MonkeyPatch, number: int, errno: int) -> None:
    """Let the disk fail at the `number`-th file that is written."""
    real, calls = os.fsync, iter(range(1, 1000))

    def fsync(descriptor: int) -> None:
        if next(calls) == number:
            raise OSError(errno, os.strerror(errno))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_replace_all_is_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    place = LocalBackend(str(tmp_path))
    place.replace_all({"a": b"old a", "b": b"old b"})
    broken_fsync(monkeypatch, failing, 28)
    with pytest.raises(StorageError, match="disk is full"):
        place.replace_all({"a": b"new a", "b": b"new b", "c": b"new c"})
    assert {p: (tmp_path / p).read_bytes() for p in left(tmp_path)} == {
        "a": b"old a",
        "b": b"old b",
    }


def test_replace_all_changes_nothing_when_a_folder_is_in_the_way(tmp_path: Path) -> None:
    place = LocalBackend(str(tmp_path))
    place.replace("a", b"old a")
    (tmp_path / "b").mkdir()
    with pytest.raises(StorageError, match="/b: a folder exists where a file is expected"):
        place.replace_all({"a": b"new a", "b": b"new b"})
    assert left(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old a"


@pytest.mark.parametrize("write", ["create_exclusive", "replace"])
def test_a_failed_write_leaves_no_passing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    place = LocalBackend(str(tmp_path))
    place.replace("s/there", b"old")
    broken_fsync(monkeypatch, 1, 5)
    with pytest.raises(StorageError, match="the disk reported an error"):
        getattr(place, write)("s/new" if write == "create_exclusive" else "s/there", b"new")
    assert left(tmp_path) == ["s/there"]
    assert place.read("s/there") == b"old"


def test_passing_files_of_a_killed_run_are_not_listed(tmp_path: Path) -> None:
    place = LocalBackend(str(tmp_path))
    place.create_exclusive("s/file", b"1")
    (tmp_path / "s" / ".tmp-0123").write_bytes(b"half")
    assert place.sizes("s") == {"file": 1}


def one_line(caught: "pytest.ExceptionInfo[UserError]", where: str) -> None:
    text = str(caught.value)
    assert "\n" not in text
    assert where in text
    assert text.startswith("cannot ")


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        place = LocalBackend(str(root))
        calls = [
            place.check_writable,
            lambda place=place: place.create_exclusive("s/k", b"1"),
            lambda place=place: place.replace("s/k", b"1"),
            lambda place=place: place.replace_all({"s/k": b"1"}),
            lambda place=place: place.read("s/k"),
            lambda place=place: place.sizes("s"),
            lambda place=place: place.folders("s"),
        ]
        for call in calls:
            with pytest.raises(StorageError) as caught:
                call()
            one_line(caught, str(root))


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "s" / "k").mkdir(parents=True)
    place = LocalBackend(str(tmp_path))
    for call in (lambda: place.read("s/k"), lambda: place.replace("s/k", b"1")):
        with pytest.raises(StorageError) as caught:
            call()
        one_line(caught, str(tmp_path / "s" / "k"))
    assert left(tmp_path) == []


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        LocalBackend(str(tmp_path / ("x" * 300))).check_writable()
    one_line(caught, "xxx")


WRITE = """
import sys
from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend.local import LocalBackend
place = LocalBackend(sys.argv[1])
try:
    place.create_exclusive("s/small", b"1")
    place.create_exclusive("s/large", bytes(1 << 20))
except StorageError as e:
    print(e)
    print(sorted(p.name for p in __import__("pathlib").Path(sys.argv[1]).rglob("*") if p.is_file()))
"""


def on_a_disk_of_its_own(tmp_path: Path, options: str, before: str = "true") -> list[str]:
    """Write to a small file system that only this process sees, and return the lines it prints."""
    script = f'mount -t tmpfs -o {options} none "$1" && {before} && exec "$2" -c "$3" "$1/store"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "-", tmp_path, sys.executable, WRITE],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return done.stdout.splitlines() if done.returncode == 0 else _limited(tmp_path)


def _limited(tmp_path: Path) -> list[str]:
    """Stand in for a full disk where no file system may be mounted: a limit on a file's size."""
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 16; exec "$@"', "-", sys.executable, "-c", WRITE,
         str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
        check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_full_disk(tmp_path: Path) -> None:
    said, there = on_a_disk_of_its_own(tmp_path, "size=64k")
    assert said.startswith(f"cannot write {tmp_path}/store/s/large: ")
    assert "the disk is full" in said or "larger than this system allows" in said
    assert there == "['small']"


def test_a_file_larger_than_the_system_allows(tmp_path: Path) -> None:
    said, there = _limited(tmp_path)
    assert said.startswith(f"cannot write {tmp_path}/store/s/large: the file is larger than")
    assert there == "['small']"


def test_a_read_only_file_system(tmp_path: Path) -> None:
    lines = on_a_disk_of_its_own(tmp_path, "size=64k", 'mount -o remount,ro "$1"')
    if "large" not in lines[0]:  # no file system may be mounted here: the size limit stood in
        assert lines == [f"cannot write {tmp_path}/store/s/small: the file system is read-only: "
                         "name another place", "[]"]  # fmt: skip
