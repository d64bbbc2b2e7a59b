"""A command of the user's in the config: its words, and no credential among them."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from pathlib import PurePath

from crowdselect_core.config.base import refuse_credentials
from crowdselect_core.processes.user_command import split

REMEDY = (
    "set it in the environment of the run, which the command gets; a config is stored and shown"
)
# `--max-tokens 512` is none, so a bare "token" within a name is no sign.
WORDS = (
    *("api_key", "apikey", "secret", "password", "passwd", "passphrase", "credential"),
    *("hf_token", "hub_token", "api_token", "access_token", "auth_token"),
)
# Options with this whole name, of which numbers are none.
TOKENS = ("token", "pwd", "pass")
# Options with this name, or with one that ends in _key, where their value looks like a key.
KEYS = ("key", "auth")
# A file with the credential, or the variable that has it
ELSEWHERE = ("_file", "_path", "_env")
HARMLESS = re.compile(
    r"|none|null|true|false|\{[a-z][a-z0-9_]*\}|\$\{?\w+\}?|(?:~|\.{1,2})?/.*",
    re.IGNORECASE | re.DOTALL,
)
NUMBERS = re.compile(r"[\d.,:/-]*")
# 16 letters and digits, mixed, or a UUID
KEY_LIKE = re.compile(
    r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
)
# The same from 8 on, of an option that is named key or auth alone; or NAME:PASSWORD
SHORT_KEY_LIKE = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{8}|[^\s:/]+:[^\s:/]+")

# Keys of services, by how they begin
_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[\w-]*?(?=[A-Za-z]*\d)[A-Za-z0-9]{16}"
    r"|hf_(?=[A-Za-z]*\d)[A-Za-z0-9]{16}|gh[opsu]_[A-Za-z0-9]{16}"
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
    values = {str(i): word.partition("=")[2] or word for i, word in enumerate(words)}
    refuse_credentials(where, values, REMEDY, ())
    for name, value in _values(words):
        if _is_credential(name.lower().replace("-", "_"), value):
            refuse_credentials(where, {name: None}, REMEDY, (name.lower().replace("-", "_"),))
    if any(PurePath(word.strip("'\"")).name == "curl" for word in words):
        for name, value in _values(words):
            if name in ("u", "user") and ":" in value:
                refuse_credentials(where, {name: None}, REMEDY, (name,))


def _is_credential(name: str, value: str) -> bool:
    """Tell an option with a credential, by its name (lower case, with _) and its value."""
    if name.endswith(ELSEWHERE) or HARMLESS.fullmatch(value):
        return False
    if name in TOKENS:
        return not NUMBERS.fullmatch(value)
    if name in KEYS and SHORT_KEY_LIKE.search(value):
        return True
    if name in KEYS or name.endswith("_key"):
        named = any(word in name for word in WORDS)
        return named or KEY_LIKE.search(value) is not None
    return any(word in name for word in WORDS)


def _values(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names and values of NAME=VALUE, --NAME=VALUE, --NAME VALUE and -N VALUE.

    A word with white space is a text, such as that of `sh -c`, whose words are looked at alone.
    """
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.strip("'\"").partition("=")
        if len(name.split()) != 1 or not (equals or name.startswith("-")):
            continue
        if not equals:
            value = "" if following.startswith("-") else following
        yield name.lstrip("-"), value.strip("'\"")
