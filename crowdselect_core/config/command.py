"""A command of the user's in the config: its words, and no credential among them."""

from collections.abc import Collection, Sequence

from crowdselect_core.config.base import refuse_credentials
from crowdselect_core.processes.user_command import split

REMEDY = (
    "set it in the environment of the run, which the command gets; a config is stored and shown"
)
# `--max-tokens 512` is none, so a bare "token" is no sign.
WORDS = ("api_key", "apikey", "secret", "password", "hf_token", "access_token", "auth_token")


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
    refuse_credentials(section, {key: text}, REMEDY, ())
    refuse_credentials(f"{section}.{key}", _options(text.split()), REMEDY, WORDS)
    words = split(f"{section}.{key}", text, placeholders)
    refuse_credentials(f"{section}.{key}", _options(words), REMEDY, WORDS)
    return text


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
