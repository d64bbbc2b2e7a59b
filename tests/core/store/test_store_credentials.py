"""Credentials that are exchanged while a place is open, on a real server that revokes the old."""

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import s3fs
from servers import ADMIN, S3Server

from crowdselect_core.errors import StorageError
from crowdselect_core.store.backend import credentials, remote
from crowdselect_core.store.backend.file_system import file_system
from crowdselect_core.store.backend.remote import RemoteBackend

pytestmark = pytest.mark.server

OTHERS = [(f"MARKEDid{n}", f"MARKEDsecret{n}") for n in range(9)]
REFUSED = "the server refused the credentials"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server whose keys the tests may exchange."""
    started = S3Server.start(tmp_path_factory.mktemp("own"))
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the caller's credentials, and no file system that was opened before."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    s3fs.S3FileSystem.clear_instance_cache()
    remote._met.clear()
    yield
    credentials.set_source(None)
    s3fs.S3FileSystem.clear_instance_cache()


def at(server: S3Server, monkeypatch: pytest.MonkeyPatch, *, keys: bool) -> RemoteBackend:
    """A place on the server; its keys in the environment, or nowhere yet."""
    for name, value in server.environment().items():
        if keys or "_KEY" not in name:
            monkeypatch.setenv(name, value)
    return RemoteBackend(f"s3://{server.bucket}/root")


def write_profile(file: Path, keys: tuple[str, str]) -> None:
    """Write the shared credentials file as its tools do: whole, or not at all."""
    text = f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
    (new := file.with_suffix(".new")).write_text(text)
    new.replace(file)


def test_a_shared_file_that_changes_is_read_again(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    write_profile(tmp_path / "credentials", server.keys)
    place = at(server, monkeypatch, keys=False)
    place.replace("file/a", b"1")
    write_profile(tmp_path / "credentials", OTHERS[0])
    server.exchange(OTHERS[0])
    assert place.read("file/a") == b"1"
    assert place.create_exclusive("file/b", b"2")
    assert REFUSED not in caplog.text, "the file said so before the server did"
    assert "MARKED" not in caplog.text


def test_a_source_that_nobody_can_watch_is_asked_when_the_server_refuses(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:  # fmt: skip
    """As a Secret block is: it is in the environment, and changes on the Prefect server only."""
    place, asked = at(server, monkeypatch, keys=True), []

    def load() -> None:
        asked.append(1)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.keys[0])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.keys[1])

    credentials.set_source(load)
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * (2 << 12))  # 2 MiB
    place.upload("block/large", large)
    fs, path = file_system(f"s3://{server.bucket}/root/block/large")
    with fs.open(path, "rb", block_size=1 << 16) as file:  # as pyarrow reads a data set
        start = file.read(10)
        server.exchange(OTHERS[1])
        file.seek(1 << 20)
        assert (start, file.read(3)) == (bytes(range(10)), b"\x00\x01\x02")
    server.exchange(OTHERS[2])
    names = [f"block/{n}" for n in range(40)]
    writers = [Thread(target=place.replace, args=(name, b"x")) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert place.sizes("block").keys() == {"large", *(f"{n}" for n in range(40))}
    server.exchange(OTHERS[3])
    assert [data for _, data in place.read_all(names)] == [b"x"] * 40  # by presigned URLs
    assert len(asked) == caplog.text.count(REFUSED) == 3, "each exchange is noticed once"
    assert "MARKED" not in caplog.text


def test_credentials_that_are_wrong_are_refused_at_once(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "crowdselect.store")
    place, asked = at(server, monkeypatch, keys=True), []
    place.replace("wrong/a", b"1")
    credentials.set_source(lambda: asked.append(1))  # it has nothing new
    server.exchange(OTHERS[5])
    with pytest.raises(StorageError, match="access denied") as caught:
        place.read("wrong/a")
    assert "MARKED" not in str(caught.value) + caplog.text
    assert asked == [1]
    credentials.set_source(broken)
    with pytest.raises(StorageError, match="access denied"):
        RemoteBackend(place.root).replace("wrong/b", b"1")


def broken() -> None:
    raise RuntimeError("MARKED: the Prefect server is gone")


def test_new_credentials_of_the_environment_are_used_by_a_place_that_is_open(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ADMIN[0] + "x")
    place = at(server, monkeypatch, keys=True)
    place.replace("env/a", b"1")
    server.exchange(OTHERS[6])
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    assert place.read("env/a") == b"1"


def test_new_keys_that_the_server_does_not_know_yet_are_waited_for(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS needs seconds until all its servers know a key that was just made."""
    place = at(server, monkeypatch, keys=True)
    place.replace("late/a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OTHERS[7][0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", OTHERS[7][1])
    waited: list[float] = []

    async def wait(endpoint: object, seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            await asyncio.to_thread(server.exchange, OTHERS[7])

    monkeypatch.setattr("aiobotocore.endpoint.AioEndpoint._sleep", wait)
    assert place.read("late/a") == b"1"
    assert waited == [1.0, 2.0]
