"""The last lines of a process's log. Every line of it is hostile text."""

import re
from pathlib import Path

MOST_BYTES = 256 * 1024  # of the log's end that is read
MOST_LINE = 400  # characters
LAST_LINES = 15

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def log_lines(log: Path, since: int = 0) -> list[str]:
    """Return the last lines of a log from a byte on, without control characters."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            since = since if since <= end else 0  # it was cut meanwhile, see `guard`
            file.seek(max(since, end - MOST_BYTES))
            content = file.read(MOST_BYTES)
    except OSError as e:
        return [f"(the log cannot be read: {type(e).__name__})"]
    text = ESCAPE.sub("", content.decode("utf-8", "replace"))
    lines = (_printable(line) for line in re.split(r"[\r\n]+", text))
    return [line[:MOST_LINE] for line in lines if line.strip()]


def quoted(log: Path, lines: list[str]) -> str:
    """Return the log's place and its last lines, as an error ends with."""
    last = "\n".join(f"  | {line}" for line in lines[-LAST_LINES:])
    return f"log: {log}" + (f", its last lines:\n{last}" if last else "")


def last_lines(lines: list[str]) -> str:
    """Return the last lines of a log that is gone when they are read, as an error ends with."""
    last = "\n".join(f"  | {line}" for line in lines[-LAST_LINES:])
    return f"its last lines:\n{last}" if last else "it said nothing"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)
