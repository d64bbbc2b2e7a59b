"""YAML as configs are written in: a key that stands twice in one mapping is an error.

YAML forbids it, and PyYAML takes the last: of two `budget` the first would do nothing.
"""

from typing import Any

import yaml


class DuplicateKey(yaml.YAMLError):
    """A key stands twice in one mapping."""


def read_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        YAMLError: it is none, or a key stands twice (the key and its lines are named).
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: yaml.Node, seen: set[int]) -> None:
    """Refuse a key that stands twice, in this node or below it."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            _check(value, seen)
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, first = key.start_mark.line + 1, lines.get((key.tag, key.value))
            if first is not None:
                raise DuplicateKey(
                    f"key {key.value[:80]!r} stands twice, in line {first} and in line {line}: "
                    "leave one out"
                )
            lines[key.tag, key.value] = line
