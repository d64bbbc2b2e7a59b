"""A stand-in for the Hugging Face hub on loopback: it takes repositories and commits.

It answers what an upload of huggingface_hub asks for, nothing else, and takes one token.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_fake_hub"


@dataclass
class FakeHub:
    """What was asked of the hub."""

    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Serve a hub on a free port of loopback."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not self._may():
                self._answer(401, {"error": "unauthorized"})
            elif self.path == "/api/repos/create":
                hub.created.append(json.loads(body))
                made = hub.created[-1]
                self._answer(200, {"url": f"{hub.url}/{made['organization']}/{made['name']}"})
            elif self.path == "/api/validate-yaml":  # of the model card
                self._answer(200, {"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                asked = json.loads(body)["files"]
                regular = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in asked
                ]
                self._answer(200, {"files": regular})
            elif "/commit/" in self.path:
                self._commit([json.loads(line) for line in body.splitlines()])
            else:
                self._answer(404, {"error": self.path})

        def do_GET(self) -> None:
            known: Any = {"id": "org/name", "sha": "0" * 40, "siblings": []}
            if "/tree/" in self.path:
                known = [
                    {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
                    for path, data in hub.files.items()
                ]
            self._answer(*((200, known) if self._may() else (401, {"error": "unauthorized"})))

        def _may(self) -> bool:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            hub.tokens.add(token)
            return token == TOKEN

        def _commit(self, lines: list[dict[str, Any]]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    hub.messages.append(value["summary"])
                elif line["key"] == "deletedFile":
                    del hub.files[value["path"]]
                else:
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            told = {"commitUrl": f"{hub.url}/org/name/commit/{'1' * 40}", "commitOid": "1" * 40}
            self._answer(200, told)

        def _answer(self, status: int, told: Any) -> None:
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
