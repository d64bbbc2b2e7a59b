"""What the value of an environment variable means: the text that it is, as of a flag.

Only a key that takes lists, mappings or true and false has it read as YAML: in YAML 1.1 a folder
`no` is false, and `~` is nothing. Numbers stay text, which the config reads as of a flag.
"""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from crowdselect_core.config.yaml_text import DuplicateKey, read_yaml


def value_of(config: type[BaseModel], keys: Sequence[str], text: str) -> Any:
    """Return the value that a text stands for.

    Args:
        config: the config whose key it is.
        keys: that lead to it, a section's first.
        text: of the variable.

    Raises:
        DuplicateKey: a mapping that has a key twice.
    """
    taken = _types([config], keys)
    if not taken & {list, dict, bool, NoneType, object}:
        return text
    try:
        value = read_yaml(text)
    except DuplicateKey:
        raise
    except yaml.YAMLError:
        return text
    is_text = value is None and str in taken
    known = isinstance(value, list | dict | bool | None) and not is_text
    return value if known and (type(value) in taken or object in taken) else text


def _types(annotations: Sequence[Any], keys: Sequence[str]) -> set[type]:
    """Return what a key takes: str, numbers, bool, list, dict, NoneType; object for anything.

    A key that does not exist takes nothing; that is said where the config is checked.
    """
    leaves = [leaf for annotation in annotations for leaf in _leaves(annotation)]
    if not keys:
        return {kind for leaf in leaves for kind in _kinds(leaf)}
    below: list[Any] = []
    for leaf in leaves:
        if get_origin(leaf) is dict:
            below.append(get_args(leaf)[1])
        elif (
            isinstance(leaf, type) and issubclass(leaf, BaseModel) and keys[0] in leaf.model_fields
        ):
            below.append(leaf.model_fields[keys[0]].annotation)
    return _types(below, keys[1:])


def _leaves(annotation: Any) -> list[Any]:
    """Return the branches of a union, without what Annotated adds."""
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [leaf for part in get_args(annotation) for leaf in _leaves(part)]
    return [annotation]


def _kinds(leaf: Any) -> set[type]:
    origin = get_origin(leaf)
    if leaf is Any:
        return {object}
    if origin is Literal:
        return {type(word) for word in get_args(leaf)}
    if origin in (list, tuple):
        return {list}
    if origin is dict or (isinstance(leaf, type) and issubclass(leaf, BaseModel)):
        return {dict}
    return {leaf} if isinstance(leaf, type) else {object}
