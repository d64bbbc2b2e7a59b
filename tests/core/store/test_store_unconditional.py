"""A server of S3 without conditional PUT: it answers 501, and files are written all the same."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import s3fs
from servers import LOCAL, free_port

from crowdselect_core.store.backend import remote
from crowdselect_core.store.backend.remote import RemoteBackend

REFUSED = b"<Error><Code>NotImplemented</Code><Message>no such header</Message></Error>"
EMPTY = b"<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount></ListBucketResult>"


class Old(BaseHTTPRequestHandler):
    """As much of S3 as a write needs."""

    files: dict[str, bytes]
    refused: int
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "If-None-Match" in self.headers:
            type(self).refused += 1
            self._answer(501, REFUSED)
            return
        self.files[self.path] = data
        self._answer(200)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.files else 404)

    def do_GET(self) -> None:
        self._answer(200, self.files.get(self.path, EMPTY))

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Old]]:
    handler = type("Handler", (Old,), {"files": {}, "refused": 0})
    server = ThreadingHTTPServer((LOCAL, free_port()), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{LOCAL}:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3fs.S3FileSystem.clear_instance_cache()
    yield handler
    server.shutdown()
    server.server_close()
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_without_conditional_put_is_written_to(
    old: type[Old], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PATIENCE", 0.0)
    place = RemoteBackend("s3://bucket/root")
    assert place.create_exclusive("s/a", b"first")
    assert not place.create_exclusive("s/a", b"second")
    assert place.create_exclusive("s/b", b"first")
    assert old.files == {"/bucket/root/s/a": b"first", "/bucket/root/s/b": b"first"}
    assert old.refused == 1  # it is asked once
    assert place.read("s/a") == b"first"
