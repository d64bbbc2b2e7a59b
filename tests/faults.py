"""An S3 server behind a network that fails: a tenth of the requests is refused, some are cut."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drill import Place
from servers import S3Server, quiet_environment

PROXY = Path(__file__).parent / "faulty_proxy.py"
TENTH = {"500": 0.04, "503": 0.03, "slowdown": 0.03}  # of the requests
RATES = {**TENTH, "cut_request": 0.02, "cut_answer": 0.03, "lost": 0.02, "delay": 0.01}


@contextmanager
def proxied(server: S3Server, folder: Path, **how: object) -> Iterator[tuple[str, Path]]:
    """Run the proxy before a server; yield its URL and its log of faults."""
    log = folder / "faults.txt"
    rates = [f"--rate={kind}={share}" for kind, share in RATES.items()]
    process = subprocess.Popen(
        [sys.executable, PROXY, server.endpoint, "--log", log, *rates,
         *(f"--{name}={value}" for name, value in how.items())],
        stdout=subprocess.PIPE, text=True, env=quiet_environment(folder), cwd=folder,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), log
    finally:
        process.kill()
        process.communicate()


def place_in(server: S3Server, endpoint: str | None = None) -> Place:
    """Return a prefix of the server's bucket, behind the proxy if one is named."""
    environment = server.environment()
    environment |= {"AWS_ENDPOINT_URL": endpoint or server.endpoint}
    return Place(f"s3://{server.bucket}/{uuid.uuid4().hex}", environment)
