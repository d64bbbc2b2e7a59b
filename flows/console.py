"""What the command shows: progress on stderr, the closing summary on stdout.

Progress is live bars on a terminal, and plain lines elsewhere, with NO_COLOR, or for a dumb one.
"""

import logging
import os
import secrets
import subprocess
import sys
from threading import Event
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import Stopped, UserError, first_line
from crowdselect_core.generate.call_tracker import TooManyFailures
from crowdselect_core.util.text import plain
from flows import server_guard
from flows.server_check import host
from tasks import terminal

# Libraries whose errors say that a server did not answer, or that its database was locked.
TRANSIENT = ("httpx", "httpcore", "sqlite3", "sqlalchemy", "websockets")
DEFAULTS = {
    "PREFECT_LOGGING_LEVEL": "WARNING",  # our own lines say the same
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; the sweep looks for these
    "DO_NOT_TRACK": "1",
}

# What Prefect says of a run's end and of what is tried again; the command says it in its own words.
_OURS = ("Finished in state", "Crash detected", "Retry", "Service 'ConcurrencySlot")

ended = Event()  # set when the run has ended: nobody needs to know how its server ends
watching: list["subprocess.Popen[bytes]"] = []  # their pipes close when this process ends


def prepare(*, quiet: bool = False) -> None:
    """Set up Prefect's environment where the user has not, and the log and progress on stderr.

    This comes before prefect is imported, which reads its settings then.

    Args:
        quiet: show warnings alone, and no progress.
    """
    ended.clear()
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not quiet and _has_bars():
        terminal.start()
    ours = logging.getLogger("crowdselect")
    ours.addHandler(_handler(quiet))
    ours.setLevel(logging.INFO)
    ours.propagate = False
    url = os.environ.get("PREFECT_API_URL")
    if url:
        ours.info("connecting to the Prefect server at %s", host(url))
    else:
        ours.info("starting a temporary Prefect server")
        _guarded()
    import prefect.main  # noqa: F401  # its loggers have their handlers from here on

    if not url:
        from flows import temporary_server

        temporary_server.install(ended)
    for name in ("", "prefect._internal"):  # the latter has handlers of its own
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_worth_showing)


class Lines(logging.Handler):
    """Writes each log record as lines to stderr, above the bars where they are drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; control characters in it are escaped."""
        if getattr(record, "is_progress", False) and terminal.is_live():
            return
        try:
            for line in self.format(record).split("\n"):
                terminal.write(plain(line))
        except Exception:
            self.handleError(record)


class _OneLine(logging.Formatter):
    """Formats a message on one line; a traceback follows on lines of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the record's line, its control characters escaped."""
        return plain(super().formatMessage(record))


def _handler(quiet: bool) -> logging.Handler:
    lines = Lines(logging.WARNING if quiet else logging.INFO)
    lines.setFormatter(_OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    return lines


def _has_bars() -> bool:
    """Tell whether stderr is a terminal that can redraw lines, and the user has not said no."""
    dumb = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return sys.stderr.isatty() and not dumb and not os.environ.get("NO_COLOR")


def _guarded() -> None:
    """Start the process that ends the temporary server with this run, however the run ends."""
    mark = secrets.token_hex(16)
    os.environ[server_guard.MARK_NAME] = mark
    words = [sys.executable, "-I", "-S", server_guard.__file__, str(os.getpid()), mark]
    watching.append(
        subprocess.Popen(  # noqa: S603 - our own script
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )  # fmt: skip


def plain_warnings() -> None:
    """Write our warnings to stderr without time or level, where no run does more than that."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setLevel(logging.WARNING)
    ours = logging.getLogger("crowdselect")
    ours.addHandler(lines)
    ours.propagate = False  # Prefect's handler of the root logger would write them again


def close(result: dict[str, Any], config: SelectConfig) -> None:
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
        print("\nno train.jsonl: the data set has no instruction texts or no answers to train on")


def _worth_showing(record: logging.LogRecord) -> bool:
    """Drop what the command says itself: the user's errors, stops, and states of runs."""
    if not record.name.startswith("prefect"):
        return True
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in TRANSIENT:
        record.msg, record.args = f"{record.getMessage()}: {first_line(error)}", None  # type: ignore[arg-type]
        record.exc_info = record.exc_text = None  # a line is enough: the client tries again
    if isinstance(error, UserError | Stopped | KeyboardInterrupt | TooManyFailures):
        return False
    if error is not None:
        from tasks.server_patience import busy_server

        if busy_server(error):
            return False
    text = record.getMessage()
    return not any(words in text for words in _OURS)
