"""A command of the user's in the config: its words, and no credential among them."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from crowdselect_core.config.base import refuse_credentials
from crowdselect_core.processes.user_command import split

REMEDY = (
    "set it in the environment of the run, which the command gets; a config is stored and shown"
)
# `--max-tokens 512` is none, so a bare "token" is no sign.
WORDS = (
    *("api_key", "apikey", "secret", "password", "passwd", "passphrase", "credential"),
    *("hf_token", "hub_token", "api_token", "access_token", "auth_token"),
)
# Options that take a credential where their value is no number, placeholder or path: `-p 8000` and
# `--token /run/secrets/token` are none.
NAMES = ("token", "key", "pass", "pwd", "auth", "p")
HARMLESS = re.compile(r"[\d.,:/-]*|\{[a-z][a-z0-9_]*\}|-.*|(?:~|\.{1,2})?/.*", re.DOTALL)

# Keys of services, by how they begin
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[\w-]*[A-Za-z0-9]{16}|hf_[A-Za-z0-9]{16}|gh[opsu]_[A-Za-z0-9]{16}"
    r"|github_pat_\w{16}|glpat-[\w-]{16}|xox[abprs]-[\w-]{10}|A[KS]IA[A-Z0-9]{16}"
    r"|AIza[\w-]{30}|eyJ[\w-]{8,}\.eyJ)"
)


def checked_command(section: str, key: str, text: str, placeholders: Collection[str]) -> str:
    """Return the text of a command that can be split and holds no credential.

    Args:
        section: of the config, for messages.
        key: of the command in it.
        text: of the command.
        placeholders: names that it may use, without braces.

    Raises:
        ConfigError: it cannot be split, or a placeholder is unknown or no whole word.
        PydanticCustomError: an option of it looks like a credential; its value is not repeated.
    """
    # The text as a whole first: a message about its words would repeat some of it.
    refuse_credentials(section, {key: text}, REMEDY, (key,) if _KEYS.search(text) else ())
    where = f"{section}.{key}"
    _refuse_options(where, text.split())
    _refuse_options(where, split(where, text, placeholders))
    return text


def _refuse_options(where: str, words: Sequence[str]) -> None:
    refuse_credentials(where, _options(words), REMEDY, WORDS)
    for name, value in _values(words):
        if name in NAMES and not HARMLESS.fullmatch(value):
            refuse_credentials(where, {name: None}, REMEDY, NAMES)


def _values(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of NAME=VALUE, --NAME=VALUE, --NAME VALUE and -N VALUE."""
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.strip("'\"").partition("=")
        if equals or name.startswith("-"):
            yield name.lstrip("-").lower(), (value if equals else following).strip("'\"")


def _options(words: Sequence[str]) -> dict[str, str]:
    """Return what may be options of a command: NAME=VALUE, --NAME=VALUE and --NAME VALUE."""
    found: dict[str, str] = {}
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if equals or word.startswith("-"):
            found[name.lstrip("-") or str(number)] = value
        else:
            found[str(number)] = word
    return found
