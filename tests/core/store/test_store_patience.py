"""A bucket that fails for a while is waited for; one that never answered is told at once."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from types import SimpleNamespace

import pytest
import s3fs
from servers import S3Server

from crowdselect_core.errors import StorageError, TransientStorageError
from crowdselect_core.store.backend import remote
from crowdselect_core.store.backend.remote import RemoteBackend

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server that the tests may kill."""
    started = S3Server.start(tmp_path_factory.mktemp("own"))
    yield started
    started.stop()


@pytest.fixture
def place(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteBackend]:
    """A place that nobody has asked yet."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    remote._met.clear()
    if server.process.poll() is not None:
        server.restart()
    yield RemoteBackend(f"s3://{server.bucket}/root")
    s3fs.S3FileSystem.clear_instance_cache()


def calls(place: RemoteBackend) -> list[Callable[[], object]]:
    return [
        lambda: place.read("s/a"),
        lambda: place.create_exclusive("s/new", b"2"),
        lambda: place.replace("s/a", b"1"),
        lambda: place.sizes("s"),
        lambda: place.folders(""),
        lambda: place.remove("s/gone"),
    ]


def test_what_fails_midway_is_waited_for(
    server: S3Server, place: RemoteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 240.0)  # a busy machine may need more than the minute
    place.replace("s/a", b"1")
    place.remove("s/new")
    for call in calls(place):
        server.stop()
        back = Timer(0.5, server.restart)
        back.start()
        call()
        back.join()
    assert place.read("s/a") == b"1"
    assert place.sizes("s") == {"a": 1, "new": 1}


def test_what_stays_away_is_told(
    server: S3Server, place: RemoteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.5)
    place.replace("s/a", b"1")
    server.stop()
    for call in calls(place):  # the first call waits, the others know
        with pytest.raises(TransientStorageError, match="committed results stay"):
            call()


def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a wait of the backend fail the test; other threads wait as they like."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: pytest.fail("it waited"))
    monkeypatch.setattr(remote, "time", clock)


def test_what_never_answered_is_not_waited_for(
    server: S3Server, place: RemoteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    never_waits(monkeypatch)
    with pytest.raises(TransientStorageError, match="check AWS_ENDPOINT_URL"):
        place.check_writable()


def test_what_the_user_must_mend_is_not_waited_for(
    place: RemoteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_waits(monkeypatch)
    with pytest.raises(FileNotFoundError):
        place.read("s/none")
    with pytest.raises(StorageError, match="the bucket does not exist"):
        RemoteBackend("s3://nosuch/root").read("s/none")


def test_a_write_whose_answer_got_lost_is_ours(
    place: RemoteBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first try writes and fails, the second finds the file there: one whole file."""
    real, tries = place._fs.pipe_file, iter([True])

    def lossy(path: str, data: bytes, **how: object) -> None:
        real(path, data, **how)
        if next(tries, False):
            raise OSError("the connection broke")

    place.sizes("")  # it answers
    monkeypatch.setattr(place._fs, "pipe_file", lossy)
    assert not place.create_exclusive("lost/a", b"mine")  # as if another had written it
    assert place.read("lost/a") == b"mine"
