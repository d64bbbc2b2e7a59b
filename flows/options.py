"""The flags of a command, read with argparse; they follow from the fields of its config.

Every key is an environment variable too: CROWDSELECT_BUDGET, CROWDSELECT_DATASET__PATH.
"""

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from crowdselect_core.config.commands import COMMANDS, CONFIG, QUIET, Command, switch, takers
from crowdselect_core.config.flags import Option
from crowdselect_core.config.load import put
from crowdselect_core.config.values import bounds, choices, default, property_of
from crowdselect_core.errors import ConfigError, shown

KEY = "key "  # begins the argparse names of config keys, apart from those of the switches


class Parser(argparse.ArgumentParser):
    """An argument parser that answers in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


def parser(flow: str = "select", *, helps: bool = True) -> Parser:
    """Return the parser of `python -m flows.FLOW`.

    Args:
        flow: of the command.
        helps: whether it can print the flags' help, whose ranges and defaults take a while.
    """
    command = COMMANDS[flow]
    made = Parser(prog=f"python -m flows.{flow}", description=command.about, allow_abbrev=False)
    made.add_argument(
        CONFIG,
        metavar="FILE.yaml",
        help="config file (docs/configuration.md); a flag overrides its key",
    )
    for option in command.options:
        made.add_argument(option.flag, dest=KEY + ".".join(option.keys), **_argument(option, helps))
    for name, text in command.looks.items():
        made.add_argument(switch(name), dest=name, action="store_true", help=text)
    for name, text in command.on_pairs.items():
        made.add_argument(switch(name), dest=name, nargs=2, metavar="OUT", help=text)
    for name, (metavar, text) in command.asks.items():
        made.add_argument(switch(name), dest=name, metavar=metavar, help=text)
    made.add_argument(QUIET, action="store_true", help="show warnings and the summary only")
    return made


def parse(argv: Sequence[str], flow: str = "select") -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse the flags; return them and the config keys that they set.

    Raises:
        ConfigError: a flag that the command does not take (the nearest is named), or a flag
            without its value.
    """
    command = COMMANDS[flow]
    helps = any(word == "--help" or word.startswith("-h") for word in argv)
    args, unknown = parser(flow, helps=helps).parse_known_args(_joined(argv, command))
    if unknown:
        raise ConfigError(_refusal(unknown, flow))
    values: dict[str, Any] = {}
    for option in command.options:
        value = getattr(args, KEY + ".".join(option.keys))
        if value is not None:
            put(values, option.keys, value, command.config)
    return args, values


def _argument(option: Option, helps: bool) -> dict[str, Any]:
    """Return what argparse needs to know of a flag."""
    text = _help(option).replace("%", "%%") if helps else None
    if option.metavar is not None:
        action = "append" if option.is_repeatable else "store"
        return {"metavar": option.metavar, "action": action, "help": text}
    if option.field.default is not False:  # --no-NAME turns it off
        return {"action": argparse.BooleanOptionalAction, "help": text}
    return {"action": "store_true", "default": None, "help": text}


def _help(option: Option) -> str:
    """Return a flag's help: the description of its key, its words or range, and its default."""
    config, key = option.owner, option.keys[-1]
    schema = property_of(config, key)
    branches = [schema, *schema.get("anyOf", ()), schema.get("items", {})]
    words = next((c for s in branches if (c := choices(s)) and len(c) > 1), [])
    text = f"{option.field.description} {option.metavar}"
    limits = next((b for s in branches if (b := bounds(s))), "")
    first = default(config, key) if option.metavar else ""
    facts = [
        "" if all(word in text for word in words) else ", ".join(words),
        limits,
        "may be given several times" if option.is_repeatable else "",
        f"default: {first.strip('[]').replace(', ', ',')}" if first else "",
    ]
    stated = "; ".join(fact for fact in facts if fact)
    return f"{option.field.description}{f' ({stated})' if stated else ''}"


def _refusal(words: Sequence[str], flow: str) -> str:
    """Return what is wrong with words, the first of which is no flag of the command."""
    word = words[0]
    if not word.startswith("-") and Path(word).exists():
        more = f" (and {len(words) - 1} more)" if len(words) > 1 else ""
        return (
            f"{word!r}{more} belongs to no flag: did the shell expand a glob? put it in quotes; "
            "see --help"
        )
    flag = word.split("=")[0]
    others = takers(flag)
    near = 0.7 if others else 0.5  # of a flag that is spelled right, only a likely mistake
    close = get_close_matches(flag, COMMANDS[flow].flags, n=1, cutoff=near)
    hint = f", did you mean {close[0]}?" if close else ""
    if others:
        commands = shown(f"flows.{name}" for name in others)
        return f"flows.{flow} does not take {flag}, a flag of {commands}{hint}; see --help"
    return f"unknown flag {word!r}{hint}; see --help"


def _joined(argv: Sequence[str], command: Command) -> list[str]:
    """Join '--weights' '-1,1,2' by '=': argparse takes a value with a minus for a flag."""
    valued = {option.flag for option in command.options if option.metavar is not None}
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in valued and re.match(r"-[\d.]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
