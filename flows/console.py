"""What the command shows: progress lines on stderr, the closing summary on stdout."""

import logging
import os
import secrets
import subprocess
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped, StorageError, UserError
from crowdselect_core.generate.call_tracker import TooManyFailures
from flows import server_guard

DEFAULTS = {
    "PREFECT_LOGGING_LEVEL": "WARNING",  # ours are the progress lines; theirs would double them
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; by these the sweep tells the living
    "DO_NOT_TRACK": "1",
}

watching: list["subprocess.Popen[bytes]"] = []  # holds the pipes that close when this process ends


def prepare() -> None:
    """Set up Prefect's environment where the user has not, and our progress lines.

    This comes before prefect is imported, which reads its settings then.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    ours = logging.getLogger("crowdselect")
    ours.addHandler(lines)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    url = os.environ.get("PREFECT_API_URL")
    ours.info("waiting for the Prefect server%s", f" at {_host(url)}" if url else " to start")
    if not url:
        _guarded()
    import prefect.main  # noqa: F401  # its loggers have their handlers from here on

    for handler in logging.getLogger().handlers:
        handler.addFilter(_worth_showing)


def _guarded() -> None:
    """Have the server that Prefect starts for this run ended with it, however the run ends."""
    mark = secrets.token_hex(16)
    os.environ[server_guard.MARK_NAME] = mark
    words = [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid()), mark]
    watching.append(
        subprocess.Popen(  # noqa: S603 - our own script
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )  # fmt: skip


def reachable() -> None:
    """Ask a named Prefect server for its health.

    Raises:
        StorageError: PREFECT_API_URL names a server that does not answer.
    """
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    try:
        with urlopen(f"{url.rstrip('/')}/health", timeout=10):  # noqa: S310 - the user's own server
            return
    except HTTPError:
        return  # it answers; what it refuses without a key, the client asks for with one
    except (OSError, ValueError):
        raise StorageError(
            f"the Prefect server at {_host(url)} (PREFECT_API_URL) does not answer; start it with "
            "'prefect server start', or unset PREFECT_API_URL to run without one"
        ) from None


def close(result: dict[str, Any], config: SelectConfig | EvaluateConfig) -> None:
    """Print the closing summary."""
    from crowdselect_core.report.text import as_text, stages_line

    if "summary" not in result:
        if result["stages"]:
            print(stages_line(result["stages"]))
        for line in (*result["lines"], *(f"{config.out.rstrip('/')}/{n}" for n in result["files"])):
            print(plain(line))
        return
    root = config.out.rstrip("/")
    files = [f"{root}/{name}" for name in sorted({*result["files"], "manifest.json"})]
    print(as_text(result["summary"], result["stages"], files))
    for line in result.get("lines", ()):
        print(plain(line))
    if "train.jsonl" not in result["files"]:
        print("\nno train.jsonl: the data set lacks instruction texts or answers to train on")


def plain(text: str) -> str:
    """Return a message on one line, its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "an unreadable URL"


def _worth_showing(record: logging.LogRecord) -> bool:
    """Drop what the command says itself: mendable errors, stops, and states of runs."""
    if not record.name.startswith("prefect"):
        return True
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, UserError | Stopped | KeyboardInterrupt | TooManyFailures):
        return False
    text = record.getMessage()
    return not ("Finished in state" in text or "Crash detected" in text or "Retry" in text)
