"""What a bucket's answers mean, given by a server that says what it is told to say."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest
import s3fs

from crowdselect_core.errors import StorageError, TransientStorageError
from crowdselect_core.store.backend import remote
from crowdselect_core.store.backend.remote import RemoteBackend

Answer = tuple[int, str]  # the status, and the code of the error
FINE = (200, "")


class Bucket:
    """A server that gives the answers of `puts` in turn, the last of them from then on.

    A read finds `there`, or nothing where that is None.
    """

    def __init__(self) -> None:
        self.puts: list[Answer] = [FINE]
        self.there: bytes | None = None
        self.asked = 0
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # whose clients ask before they send a body

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                bucket.asked += 1
                self.answer(*(bucket.puts.pop(0) if len(bucket.puts) > 1 else bucket.puts[0]))

            def do_GET(self) -> None:
                if bucket.there is None:
                    self.answer(404, "NoSuchKey")
                else:
                    self.answer(200, "", bucket.there)

            do_HEAD = do_GET

            def answer(self, status: int, code: str, data: bytes = b"") -> None:
                if code:
                    text = f"<Error><Code>{code}</Code><Message>HIDDEN</Message></Error>"
                    data = f'<?xml version="1.0"?>{text}'.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Such a server, named by the environment."""
    made = Bucket()
    address = f"http://127.0.0.1:{made.server.server_port}"
    for name, value in {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "HIDDEN",
        "AWS_SESSION_TOKEN": "HIDDEN", "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield made
    made.server.shutdown()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def place(bucket: Bucket) -> RemoteBackend:
    """A place in it, which has answered before."""
    found = RemoteBackend("s3://bucket/root")
    found.replace("s/a", b"1")
    bucket.asked = 0
    return found


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between two tries, none of which is waited."""
    taken: list[float] = []
    clock = SimpleNamespace(
        sleep=taken.append, monotonic=lambda: time.monotonic() + sum(taken), time=time.time
    )
    monkeypatch.setattr(remote, "time", clock)
    return taken


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [(400, "ExpiredToken", "the credentials have expired"),
     (400, "ExpiredTokenException", "the credentials have expired"),
     (400, "InvalidToken", "their token is not valid"),
     (400, "TokenRefreshRequired", "get new ones (AWS_SESSION_TOKEN"),
     (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
     (403, "AccessDenied", "access denied"),
     (403, "SignatureDoesNotMatch", "access denied")],
)  # fmt: skip
def test_what_waiting_does_not_mend_is_told_at_once(
    bucket: Bucket, place: RemoteBackend, naps: list[float], status: int, code: str, said: str
) -> None:
    bucket.puts = [(status, code)]
    for write in (place.create_exclusive, place.replace):
        bucket.asked = 0
        with pytest.raises(StorageError) as caught:
            write("s/b", b"1")
        text = str(caught.value)
        assert not isinstance(caught.value, TransientStorageError)
        assert text.startswith("cannot write s3://bucket/root/s/b: ")
        assert said in text
        assert f"({code})" in text
        assert "\n" not in text
        assert "HIDDEN" not in text
        assert bucket.asked == 1
    assert naps == []


CONFLICT = (409, "ConditionalRequestConflict")


def test_a_conflict_is_no_file_that_is_there(
    bucket: Bucket, place: RemoteBackend, naps: list[float]
) -> None:
    """As AWS answers while another removes the file, or its own write has not ended."""
    bucket.puts = [CONFLICT, CONFLICT, FINE]
    assert place.create_exclusive("s/b", b"1") is True
    assert bucket.asked == 3
    first, second = naps  # each is drawn between half of its step and the whole: 0.2 s, then 0.4 s
    assert 0.1 <= first <= 0.2 <= second <= 0.4
    bucket.puts = [CONFLICT, (412, "PreconditionFailed")]
    assert place.create_exclusive("s/b", b"1") is False


def test_a_conflict_that_does_not_end(
    bucket: Bucket, place: RemoteBackend, naps: list[float]
) -> None:
    bucket.puts, bucket.there = [CONFLICT], b"another's"
    assert place.create_exclusive("s/b", b"1") is False
    assert sum(naps) > remote.PATIENCE / 2
    bucket.there = None
    with pytest.raises(TransientStorageError, match="others write or remove it at the same"):
        place.create_exclusive("s/b", b"1")
