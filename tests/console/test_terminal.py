"""Progress on a real terminal (a pseudo-terminal), and plain lines everywhere else."""

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT
from servers import quiet_environment

PROGRAM = """
import logging, sys, threading
from flows import console
from tasks import terminal
from tasks.progress import IS_PROGRESS

quiet = "--quiet" in sys.argv
logging.getLogger("crowdselect").setLevel(logging.INFO)
logging.getLogger("crowdselect").addHandler(console._handler(quiet))
if not quiet and console._has_bars():
    terminal.start()
log = logging.getLogger("crowdselect")
view = lambda: terminal.Progress(7, 9, "waiting: [bold]2[/bold]\\x1b[2J requests")

def work(name):
    with terminal.bar(name, view):
        for number in range(20):
            log.info("%s writes line %d", name, number)
        log.info("%s progress", name, extra=IS_PROGRESS)
        if terminal.is_live():
            terminal._bars._live.refresh()

names = ["[red]one[/red]", "two\\x1b[31m\\u202e", "three"]
threads = [threading.Thread(target=work, args=(name,)) for name in names]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
log.warning("a [link=x]warning[/link]\\nof two lines")
print("of another library", file=sys.stderr)
terminal.stop()
print("the summary")
"""


def shown(tmp_path: Path, *flags: str, tty: bool = True, **names: str) -> str:
    """Return all that the program writes to its terminal, or to a pipe."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = quiet_environment(tmp_path) | {
        "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "150", **names,
    }  # fmt: skip
    argv = [sys.executable, str(script), *flags]
    if not tty:
        ended = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        return ended.stderr + ended.stdout
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    data = b""
    while select.select([ours], [], [], 120)[0]:
        try:
            block = os.read(ours, 65536)
        except OSError:  # Linux: the other end is closed
            break
        data += block
    os.close(ours)
    assert process.wait() == 0, data
    return data.decode()


def lines_of(screen: str) -> list[str]:
    """Return the lines without the codes that move the cursor and set colours."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


def assert_every_line_is_whole(lines: list[str]) -> None:
    """Sixty lines from three threads: each stands alone on its line, with the time before it."""
    written = [line for line in lines if "writes line" in line]
    assert len(written) == 60
    for line in written:
        assert re.fullmatch(r"\d\d:\d\d:\d\d \S+ writes line \d+", line.rstrip()), line


def test_bars_and_log_lines_do_not_mix(tmp_path: Path) -> None:
    screen = shown(tmp_path)
    lines = lines_of(screen)
    assert_every_line_is_whole(lines)
    bars = [line for line in lines if "━" in line]
    assert any(
        re.match(r"three +[━╸╺]+ +7 of 9 +waiting: \[bold\]2\[/bold\]\\x1b\[2J requests", line)
        for line in bars
    ), bars
    assert any(line.startswith("[red]one[/red] ") for line in bars), "markup was interpreted"
    assert not any("progress" in line for line in lines), "the bar says it already"
    assert any(line.rstrip().endswith(r"a [link=x]warning[/link]\nof two lines") for line in lines)
    assert "of another library" in lines
    assert lines[-1] == "the summary"
    assert "\x1b[2J" not in screen
    assert "\u202e" not in screen
    assert "\x1b[?25h" in screen, "the cursor is hidden for good"


@pytest.mark.parametrize(
    ("tty", "names"), [(False, {}), (True, {"NO_COLOR": "1"}), (True, {"TERM": "dumb"})]
)
def test_plain_lines_elsewhere(tmp_path: Path, tty: bool, names: dict[str, str]) -> None:
    screen = shown(tmp_path, tty=tty, **names)
    assert not set(screen) & {"\x1b", "━", "\u202e"}
    lines = lines_of(screen)
    assert_every_line_is_whole(lines)
    assert sum(line.endswith(" progress") for line in lines) == 3


@pytest.mark.parametrize("tty", [True, False])
def test_quiet_leaves_warnings_and_the_summary(tmp_path: Path, tty: bool) -> None:
    screen = shown(tmp_path, "--quiet", tty=tty)
    assert not set(screen) & {"\x1b", "━"}
    lines = lines_of(screen)
    assert [line[9:] for line in lines[:1]] == [r"a [link=x]warning[/link]\nof two lines"]
    assert lines[1:] == ["of another library", "the summary"]


def test_without_bars_rich_is_not_imported() -> None:
    code = "import sys, tasks.terminal as t, flows.cli; t.stop(); sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
