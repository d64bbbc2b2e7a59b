"""A command of the user's config: run without a shell, in a session of its own, under the guard.

The text is split into words once, as a shell splits it, and nothing else of a shell is done: no
variables, no globs, no pipes. A placeholder such as {output_dir} is replaced where it is a whole
word; inside a longer word it is an error, so that no value is ever taken apart again. A command
runs only where the environment of this process says CROWDSELECT_ALLOW_COMMANDS=1: who fills in a
form of the Prefect UI gets no shell on the worker by that. Other code that a config names needs it
in the runs of deployments: config/named_code.py.
"""

import os
import re
import shlex
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import sleep

from crowdselect_core.errors import ConfigError, UserError, nearest
from crowdselect_core.processes.log_lines import last_lines, log_lines, quoted
from crowdselect_core.processes.supervised import SupervisedProcess

ALLOWED = "CROWDSELECT_ALLOW_COMMANDS"
POLL = 0.2  # seconds between two looks at a command
MOST_OUTPUT = 16 << 20  # bytes of stdout that a caller may ask for
NOT_STARTED = 127  # exit code of the guard

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class CommandFailed(UserError):
    """A command of the config ended with an error; the message quotes the end of its log."""


@dataclass(frozen=True)
class UserCommand:
    """A command that is ready to run.

    Args:
        where: the config's key, for messages.
        words: program and arguments, the placeholders replaced.
        folder: where it works; it exists.
        log: file for its stderr, and its stdout unless that is asked for.
        environment: variables beside those of this process.
        log_stays: whether the log is still there when an error that quotes it is read.
    """

    where: str
    words: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    log_stays: bool = True


def split(where: str, text: str, placeholders: Collection[str]) -> list[str]:
    """Split the text of a command into words, the placeholders still in them.

    Args:
        where: the config's key, for messages.
        text: of the command.
        placeholders: names that it may use, without braces.

    Raises:
        ConfigError: no word, an open quote, or a placeholder that is unknown or no whole word.
    """
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise ConfigError(f"{where}: cannot be split into words: {e}") from None
    if not words or not words[0] or "\0" in text:
        raise ConfigError(f"{where}: expected a program and its arguments, found {text[:80]!r}")
    for word in words:
        whole = _PLACEHOLDER.fullmatch(word)
        if whole and whole[1] not in placeholders:
            raise ConfigError(
                f"{where}: unknown placeholder {word}{nearest(whole[1], placeholders)}: expected "
                f"one of {', '.join(f'{{{name}}}' for name in placeholders)}"
            )
        if not whole and any(f"{{{name}}}" in word for name in placeholders):
            raise ConfigError(
                f"{where}: in {word[:80]!r} a placeholder is a part of an argument; it must be a "
                "whole one (--out {output_dir}, not --out={output_dir}): where the program wants "
                "it otherwise, call it from a script of your own"
            )
    return words


def filled(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Replace the words that are placeholders; every other word stays as it is."""
    named = {f"{{{name}}}": value for name, value in values.items()}
    return [named.get(word, word) for word in words]


def check_allowed(where: str) -> None:
    """Check that this process may run what a config names.

    Raises:
        ConfigError: commands are not allowed here.
    """
    if os.environ.get(ALLOWED) != "1":
        raise ConfigError(
            f"{where}: commands of a config do not run here: set {ALLOWED}=1 in the environment "
            "of this process (a worker's too), if you trust all who can start a run"
        )


def check(where: str, words: Sequence[str]) -> None:
    """Check before anything is paid for that a command may run here, and could be found.

    Raises:
        ConfigError: commands are not allowed here, there is no such program, or a word names a
            file of this folder, which the command would not find from its own.
    """
    check_allowed(where)
    for word in words:
        relative = not word.startswith(("-", "/")) and ("/" in word or "." in word)
        if relative and os.path.isfile(word):  # noqa: PTH113  # of a word too long, too
            raise ConfigError(
                f"{where}: {word[:80]!r} is a file of {Path.cwd()}, and the command works in a "
                f"folder of its own: write {str(Path(word).absolute())!r}"
            )
    if shutil.which(words[0]) is None:
        raise ConfigError(f"{where}: there is no program {words[0][:80]!r} on PATH")


def run(
    command: UserCommand, checked: Callable[[], None] = lambda: None, most_output: int = 0
) -> str:
    """Run a command to its end; whatever happens, nothing of it survives.

    Args:
        command: what is run.
        checked: called while it runs; what it raises ends the command.
        most_output: bytes of stdout that are returned; 0: stdout goes to the log.

    Returns:
        Its stdout as UTF-8 (what is none is replaced), '' unless it was asked for.

    Raises:
        ConfigError: commands are not allowed here.
        CommandFailed: it could not be started, ended with another exit code than 0, or printed
            more than `most_output` bytes.
    """
    check(command.where, command.words)
    if not most_output:
        _to_its_end(command, None, 0, checked)
        return ""
    output = command.log.with_suffix(".stdout")
    try:
        output.write_bytes(b"")
        _to_its_end(command, output, most_output, checked)
        return output.read_bytes().decode("utf-8", "replace")
    finally:
        output.unlink(missing_ok=True)


def _to_its_end(
    command: UserCommand, output: Path | None, most: int, checked: Callable[[], None]
) -> None:
    process = SupervisedProcess(
        command.where, command.words, {**os.environ, **command.environment}, command.log,
        lambda: True, command.folder, output,
    )  # fmt: skip
    try:
        process.start()
        while process.runs():
            checked()
            _check_size(command, output, most)
            sleep(POLL)
    finally:
        process.end()
    _check_size(command, output, most)
    if process.exit_code != 0:
        raise CommandFailed(_why(command, process))


def _check_size(command: UserCommand, output: Path | None, most: int) -> None:
    if output and output.stat().st_size > most:
        raise CommandFailed(
            f"{command.where}: it printed more than {most:,} bytes: let it print its result alone, "
            "and the rest to stderr"
        )


def _why(command: UserCommand, process: SupervisedProcess) -> str:
    code = process.exit_code or 0
    number = -code if code < 0 else code - 128  # below 0: of the guard, and so of both
    how = f"was ended by signal {number}" if number > 0 else f"ended with exit code {code}"
    if code == NOT_STARTED and process.pid is None:
        how = "could not be started"
    lines = log_lines(command.log, process.log_start)
    told = quoted(command.log, lines) if command.log_stays else last_lines(lines)
    return f"{command.where}: the command {how}\n{told}"
