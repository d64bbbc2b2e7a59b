"""`make server` as a process of its own, and its API."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from command import ROOT
from processes import environment, with_words
from servers import LOCAL, free_block, free_port, quiet_environment

KEYS = {"AWS_ACCESS_KEY_ID": "MARKEDserverID", "AWS_SECRET_ACCESS_KEY": "MARKEDserverSECRET"}
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
PARTS = [0, 100, 200, 300, 400]
SECONDS = 300  # what takes longer on a busy machine hangs


@dataclass
class Deployed:
    """A running `python -m deployments.server`."""

    state: Path
    port: int
    s3_port: int
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    client: httpx.Client = field(repr=False)

    @classmethod
    def start(
        cls, state: Path, ports: tuple[int, int] | None = None, **environment: str
    ) -> "Deployed":
        """Start it, and wait until it says what to press."""
        port, s3_port = ports or new_ports()
        home = state.parent / "home"
        home.mkdir(parents=True, exist_ok=True)
        env = quiet_environment(home) | KEYS | {"PYTHONPATH": str(ROOT)} | environment
        process = launch(state, port, s3_port, env)
        client = httpx.Client(base_url=f"http://{LOCAL}:{port}/api", timeout=90, trust_env=False)
        made = cls(state, port, s3_port, env, process, client)
        try:
            made.until(lambda: "Quick run" in made.said, 240)
        except BaseException:
            made.stop()
            raise
        return made

    @property
    def said(self) -> str:
        """What it printed."""
        return (self.state.parent / "said").read_text()

    @property
    def api(self) -> str:
        """Address of its API."""
        return f"http://{LOCAL}:{self.port}/api"

    def until(self, true: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait for something that is to happen while it runs; return what `true` returned."""
        end = time.monotonic() + seconds
        while not (found := true()):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, f"not within {seconds} s; it said: {self.said}"
            time.sleep(0.3)
        return found

    def family(self) -> list[psutil.Process]:
        """Every process that it started, wherever it put them."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        """Its worker; what that starts has the same command line for a moment, and comes later."""
        return next(
            p for p, words in with_words(self.family()) if "worker" in words and "-I" not in words
        )

    def engine(self, run: dict[str, Any]) -> psutil.Process:
        """The process of a run that its worker started."""
        return next(
            p for p, words in with_words(self.family())
            if "prefect.engine" in words and environment(p).get("PREFECT__FLOW_RUN_ID") == run["id"]
        )  # fmt: skip

    def stop(self) -> int:
        """End it in order; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=SECONDS)
        finally:
            if self.process.poll() is None:
                os.kill(self.process.pid, signal.SIGKILL)

    def get(self, path: str) -> Any:
        """Read from the API."""
        return asked(self.client, "GET", path).json()

    def post(self, path: str, body: Any) -> Any:
        """Call the API."""
        return asked(self.client, "POST", path, json=body).json()

    def call(self, method: str, path: str, body: Any = None) -> None:
        """Call what answers without a body."""
        asked(self.client, method, path, json=body)

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by FLOW/NAME."""
        return dict(self.get(f"/deployments/name/{name}"))

    def run(self, name: str, **parameters: Any) -> dict[str, Any]:
        """Do what Quick run does, or Custom run with parameters."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return dict(self.post(path, {"parameters": parameters}))

    def runs(self, name: str) -> list[dict[str, Any]]:
        """The runs of a flow, newest first."""
        body = {"flows": {"name": {"any_": [name]}}, "sort": "EXPECTED_START_TIME_DESC"}
        return list(self.post("/flow_runs/filter", body))

    def ended(self, run: dict[str, Any], seconds: float = SECONDS) -> dict[str, Any]:
        """Wait for the end of a run; return it."""

        def final() -> dict[str, Any] | None:
            now = dict(self.get(f"/flow_runs/{run['id']}"))
            return now if now["state"]["type"] in FINAL else None

        return dict(self.until(final, seconds))

    def tasks(self, run: dict[str, Any]) -> dict[str, str]:
        """Wait until every task of a run that ended is recorded; return their states by name."""
        of_it = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        found = self.until(lambda: recorded(self.post("/task_runs/filter", of_it)))
        return {task["name"].rsplit("-", 1)[0]: task["state"]["name"] for task in found}

    def file_system(self) -> Any:
        """Its object store, read with the keys that it was given."""
        import s3fs

        return s3fs.S3FileSystem(
            key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=f"http://{LOCAL}:{self.s3_port}", use_listings_cache=False,
        )  # fmt: skip


def asked(client: httpx.Client, method: str, path: str, **how: Any) -> httpx.Response:
    """Call Prefect's API, again on 503: SQLite was locked for long (clients do the same)."""
    for _ in range(5):
        response = client.request(method, path, **how)
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(2)
    return response.raise_for_status()


def recorded(tasks: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the tasks of a run that ended, once Prefect has taken in how each of them ended."""
    done = all(task["state"] and task["state"]["type"] in FINAL for task in tasks)
    return tasks if tasks and done else None


def launch(state: Path, port: int, s3_port: int, env: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Start the command; what it prints goes to a file beside its state."""
    command = [sys.executable, "-m", "deployments.server", "--port", str(port), "--s3-port",
               str(s3_port), "--state", str(state), "--keys-from-environment"]  # fmt: skip
    with (state.parent / "said").open("wb") as said:
        return subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip


def new_ports() -> tuple[int, int]:
    """Return free ports for Prefect and for the object store."""
    return free_port(), free_block([part + grpc for part in PARTS for grpc in (0, 10_000)])
