"""Real servers for the tests, on loopback only: their ports, their environment, and S3."""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

BIN = Path(sys.executable).parent
LOCAL = "127.0.0.1"
UP = 240  # seconds; a server that takes longer to start on a busy machine hangs

# The keys are marked, so that a test can look for them in everything that a run shows.
ADMIN = ("MARKEDadminID", "MARKEDadminSECRET")
READER = ("MARKEDreaderID", "MARKEDreaderSECRET")


# Ports of the tests lie below those that Linux gives to outgoing connections (32768 and up), and
# each process of pytest-xdist has its own, of which it takes each once: between a look and the
# server's start nobody else takes one.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw19").removeprefix("gw")) % 20
BLOCKS = range(10_500 + 500 * WORKER, 10_600 + 500 * WORKER)  # with ports 100, 200, ... above
SINGLE = range(30_500 + 100 * WORKER, 30_600 + 100 * WORKER)


def _in_some_order(ports: range) -> Iterator[int]:
    """Yield ports for ever, from another place on in every process: two test runs seldom meet."""
    first = random.randrange(len(ports))
    return cycle([*ports[first:], *ports[:first]])


_singles, _bases = _in_some_order(SINGLE), _in_some_order(BLOCKS)


def free_port() -> int:
    """Return a port that nothing listens on."""
    for port in islice(_singles, len(SINGLE)):
        if _is_free(port):
            return port
    raise RuntimeError(f"no port of {SINGLE} is free")


def free_block(offsets: list[int]) -> int:
    """Return a port P for which every P + offset is free; offsets are whole hundreds below 500.

    Or those and 10,000: so far above its own a server opens a second port.
    """
    for base in islice(_bases, len(BLOCKS)):
        if all(_is_free(base + offset) for offset in offsets):
            return base
    raise RuntimeError(f"no block of free ports begins in {BLOCKS}")


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind((LOCAL, port))
        except OSError:
            return False
        return True


def quiet_environment(home: Path) -> dict[str, str]:
    """Return the environment of a subprocess: nothing of the caller's credentials or settings."""
    kept = {n: os.environ[n] for n in ("PATH", "LANG", "TMPDIR") if n in os.environ}
    return kept | {
        "HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "NO_PROXY": f"{LOCAL},localhost",
    }


def wait_until_ready(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float
) -> None:
    """Wait until a server that was started is ready."""
    end = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} at its start")
        if time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} is not up after {seconds} s")
        time.sleep(0.1)


@dataclass
class S3Server:
    """A running SeaweedFS with an identity that may do all and one that may only read."""

    endpoint: str
    bucket: str
    process: subprocess.Popen[bytes]
    folder: Path
    keys: tuple[str, str] = ADMIN  # of the identity that may do all

    @classmethod
    def start(cls, folder: Path, bucket: str = "bucket") -> "S3Server":
        """Start the server in a folder of its own and create the bucket."""
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "identities.json"
        config.write_text(json.dumps({"identities": _identities(bucket, ADMIN)}))
        services = {"s3": 0, "master": 100, "volume": 200, "filer": 300, "admin": 400}
        # Every service opens a second port, for gRPC, 10,000 above its own.
        base = free_block([o + grpc for o in services.values() for grpc in (0, 10_000)])
        argv = [
            str(BIN / "weed"), f"-logdir={folder}", "mini", f"-dir={folder}",
            f"-ip={LOCAL}", f"-ip.bind={LOCAL}", f"-s3.config={config}",
            *(f"-{name}.port={base + offset}" for name, offset in services.items()),
            "-admin.ui=false", "-webdav=false", "-master.telemetry=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip
        server = cls(f"http://{LOCAL}:{base}", bucket, _spawn(argv, folder), folder)
        try:
            server.wait()
        except BaseException:
            server.stop()
            raise
        return server

    def restart(self) -> None:
        """Start a server that was stopped again, on its ports and its data."""
        self.process = _spawn([str(arg) for arg in self.process.args], self.folder)
        self.wait()

    @property
    def url(self) -> str:
        """The URL of the bucket."""
        return f"s3://{self.bucket}"

    def exchange(self, keys: tuple[str, str]) -> None:
        """Revoke the keys that may do all and give others; the server restarts for it."""
        self.stop()
        self.keys = keys
        identities = {"identities": _identities(self.bucket, keys)}
        (self.folder / "identities.json").write_text(json.dumps(identities))
        self.restart()

    def wait(self) -> None:
        """Wait until the server is up and keeps files, which comes later."""
        wait_until_ready(self.process, lambda: answers(self.endpoint), UP)
        wait_until_ready(self.process, self._keeps, UP)

    def _keeps(self) -> bool:
        files, probe = self.file_system(), f"{self.bucket}/probe"
        try:
            if not files.exists(self.bucket):
                files.mkdir(self.bucket)
            files.pipe_file(probe, b"probe")
            files.rm_file(probe)
        except Exception:  # of s3fs or of boto
            return False
        return True

    def environment(self, keys: tuple[str, str] | None = None) -> dict[str, str]:
        """Return the variables by which boto finds this server."""
        keys = keys or self.keys
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def file_system(self):  # noqa: ANN201 - s3fs has no types
        """Return an s3fs file system with all rights, whatever the environment says."""
        import s3fs

        return s3fs.S3FileSystem(
            key=self.keys[0],
            secret=self.keys[1],
            endpoint_url=self.endpoint,
            use_listings_cache=False,
        )

    def names(self, store: str) -> set[str]:
        """Return the names of the files below a URL; passing files of a killed run apart."""
        top = store.removeprefix("s3://")
        found = self.file_system().find(top)
        return {path.removeprefix(f"{top}/") for path in found if "/.tmp-" not in path}

    def stored(self, store: str) -> dict[str, bytes]:
        """Return the files below a URL by their name."""
        fs, top = self.file_system(), store.removeprefix("s3://")
        return {name: fs.cat_file(f"{top}/{name}") for name in self.names(store)}

    def stop(self) -> None:
        """End the server; in order it would take 15 seconds."""
        self.process.kill()
        self.process.wait(timeout=240)


def _spawn(argv: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "weed.log").open("ab") as log:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=quiet_environment(folder), cwd=folder,
        )  # fmt: skip


def _identities(bucket: str, admin: tuple[str, str]) -> list[dict[str, object]]:
    def identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, object]:
        credentials = [{"accessKey": keys[0], "secretKey": keys[1]}]
        return {"name": name, "credentials": credentials, "actions": actions}

    return [
        identity("admin", admin, ["Admin", "Read", "Write", "List", "Tagging"]),
        identity("reader", READER, [f"Read:{bucket}", f"List:{bucket}"]),
    ]


def answers(url: str) -> bool:
    """Whether a server answers at a URL."""
    try:
        urlopen(url, timeout=10).close()  # noqa: S310 - http, of our own making
    except HTTPError:
        return True  # it refuses us, so it is there
    except OSError:
        return False
    return True
