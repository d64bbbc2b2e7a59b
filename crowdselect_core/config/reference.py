"""The tables of docs/configuration.md, written from the fields of the configs.

    python -m crowdselect_core.config.reference docs/configuration.md

replaces what stands between the two marks of the page; without a page it prints the tables.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from crowdselect_core.config.base import configs_in, kind_of
from crowdselect_core.config.commands import COMMANDS
from crowdselect_core.config.flags import step_of
from crowdselect_core.config.values import default, property_of, values
from crowdselect_core.errors import ConfigError, UserError

START = "<!-- written by `make docs` from the fields of crowdselect_core/config -->"
END = "<!-- end of what `make docs` writes -->"

Config = type[BaseModel]
Key = tuple[Config, tuple[str, ...]]  # the config that declares it, and the keys that lead to it


def tables() -> str:
    """Return a table of the keys of every config, the keys at the top first."""
    paths = sections()
    headings = {config: _heading(config, path) for config, path in paths.items()}
    parts = [f"### {title}\n\n{_table(keys, headings)}" for title, keys in _top_level().items()]
    for config, title in headings.items():
        parent = next((p for p in config.__mro__[1:] if p in headings), None)
        names = list(config.__annotations__ if parent else config.model_fields)
        about = (config.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        if parent:
            about += f" The keys are those of {_link(headings[parent])}; these differ:"
        table = _table([(config, (*paths[config], name)) for name in names], headings)
        parts.append(f"### {title}\n\n{about}\n\n{table}")
    return "\n\n".join(parts)


def sections() -> dict[Config, tuple[str, ...]]:
    """Return the configs inside the commands' configs, each with the keys that first lead to it."""
    seen: dict[Config, tuple[str, ...]] = {}

    def visit(config: Config, above: tuple[str, ...]) -> None:
        for name, field in config.model_fields.items():
            path = (*above, name)
            new = [c for c in configs_in(field.annotation) if c not in seen]
            seen.update(dict.fromkeys(new, path))
            for inner in new:
                visit(inner, path)

    for command in COMMANDS.values():
        visit(command.config, ())
    return seen


def updated(page: str) -> str:
    """Return a page with the tables as they are now between its marks.

    Raises:
        ConfigError: the page has not the two marks.
    """
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ConfigError(f"the page needs the lines {START!r} and {END!r}")
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


def anchor(title: str) -> str:
    """Return the anchor that a heading has on GitHub."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main(argv: Sequence[str]) -> int:
    """Write the tables into a page, or print them."""
    if not argv:
        print(tables())
        return 0
    page = Path(argv[0])
    try:
        page.write_text(updated(page.read_text("utf-8")), "utf-8")
    except (OSError, UserError) as e:
        print(f"error: {page}: {e}", file=sys.stderr)
        return 2
    return 0


def _top_level() -> dict[str, list[Key]]:
    """Return the keys of the commands' configs by the commands that read them."""
    readers: dict[str, list[str]] = {}
    owners: dict[str, Config] = {}
    for name, command in COMMANDS.items():
        for key, field in command.config.model_fields.items():
            step = step_of(field)
            if step is None or step in command.steps:
                readers.setdefault(key, []).append(name)
                owners.setdefault(key, command.config)
    groups: dict[str, list[Key]] = {}
    for key, names in readers.items():
        who = "every command" if len(names) == len(COMMANDS) else " and ".join(_listed(names))
        groups.setdefault(f"Keys of {who}", []).append((owners[key], (key,)))
    return groups


def _listed(names: Sequence[str]) -> Iterator[str]:
    if len(names) > 1:
        yield ", ".join(names[:-1])
    yield names[-1]


def _heading(config: Config, path: tuple[str, ...]) -> str:
    kind = kind_of(config)
    return f"`{'.'.join(path)}`" + (f" of kind `{kind}`" if kind else "")


def _link(title: str) -> str:
    words = title.replace("`", "").rpartition(" of ")[2]
    return f"[{words}](#{anchor(title)})"


def _table(keys: Iterable[Key], headings: dict[Config, str]) -> str:
    """Return the table of some keys; the column of flags is left out where none is a flag."""
    links = {config.__name__: _link(title) for config, title in headings.items()}
    flags = {o.keys: o.flag for command in COMMANDS.values() for o in command.options}
    rows = []
    for config, path in keys:
        key, first = path[-1], default(config, path[-1])
        takes = values(property_of(config, key), links.__getitem__)
        stated = "required" if first is None else f"`{first}`" if first else ""
        flag = f"`{flags[path]}`" if path in flags else ""
        rows.append([f"`{key}`", flag, takes, stated, config.model_fields[key].description or ""])
    head = ["key", "flag", "value", "default", ""]
    if not any(row[1] for row in rows):
        rows = [[*row[:1], *row[2:]] for row in rows]
        head.remove("flag")
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
