"""Live progress bars on a terminal: one line per running stage or model, log lines above them.

Without `start` nothing is drawn. Names come from data and configs and are hostile: they are drawn
as plain text, with markup off and control characters escaped.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from crowdselect_core.util.text import plain

if TYPE_CHECKING:  # rich is slow to import, and needed on a terminal only
    from rich.table import Table

BAR_WIDTH = 20  # characters
REFRESHES = 4  # drawings a second


@dataclass(frozen=True)
class Progress:
    """What one line shows.

    Args:
        done: pieces of work that have ended.
        total: pieces in all; None where that is not known.
        words: rate, failures, time left or what is waited for.
    """

    done: int
    total: int | None
    words: str = ""


View = Callable[[], Progress]


class Bars:
    """The lines of everything that runs; may be changed from any thread."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._views: dict[object, tuple[str, View]] = {}
        self._lock = Lock()
        self.console = Console(
            stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True
        )
        self._live = Live(
            console=self.console, get_renderable=self.table, refresh_per_second=REFRESHES,
            transient=True, redirect_stdout=sys.stdout.isatty(), redirect_stderr=True,
        )  # fmt: skip

    def start(self) -> None:
        """Draw from now on; what others write to stderr is put above the bars."""
        self._live.start()

    def stop(self) -> None:
        """Remove the bars and give stderr back."""
        self._live.stop()

    def add(self, name: str, view: View) -> object:
        """Show a line; returns what `remove` takes."""
        line = object()
        with self._lock:
            self._views[line] = (plain(name), view)
        return line

    def remove(self, line: object) -> None:
        """Show a line no longer."""
        with self._lock:
            self._views.pop(line, None)

    def table(self) -> "Table":
        """Lay the lines out: name, bar, done of total, words."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        for _ in range(3):
            table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        with self._lock:
            views = list(self._views.values())
        for name, view in views:
            now = view()
            of = "" if now.total is None else f" of {now.total:,}"
            bar = ProgressBar(
                total=None if now.total is None else max(now.total, 1),
                completed=now.done, width=BAR_WIDTH,
            )  # fmt: skip
            table.add_row(Text(name), bar, Text(f"{now.done:,}{of}"), Text(plain(now.words)))
        return table


_bars: Bars | None = None


def start() -> None:
    """Draw bars on stderr, which is a terminal, until `stop`."""
    global _bars
    if _bars is None:
        _bars = Bars()
        _bars.start()


def stop() -> None:
    """Remove the bars; may be called again, or without `start`."""
    global _bars
    bars, _bars = _bars, None
    if bars is not None:
        bars.stop()


def is_live() -> bool:
    """Tell whether bars are drawn."""
    return _bars is not None


def write(line: str) -> None:
    """Write one line to stderr, above the bars where they are drawn."""
    bars = _bars
    if bars is None:
        print(line, file=sys.stderr, flush=True)
        return
    from rich.text import Text

    bars.console.print(Text(line), soft_wrap=True)


@contextmanager
def bar(name: str, view: View) -> Iterator[None]:
    """Show a line while the block runs, where bars are drawn."""
    bars = _bars
    if bars is None:
        yield
        return
    line = bars.add(name, view)
    try:
        yield
    finally:
        bars.remove(line)
