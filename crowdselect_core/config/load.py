"""Flags over environment over file over defaults, merged into one config."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from crowdselect_core.config.base import Named, configs_in
from crowdselect_core.config.commands import COMMANDS
from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.flags import SCORES
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.config.variables import value_of
from crowdselect_core.config.yaml_text import DuplicateKey, read_yaml
from crowdselect_core.errors import ConfigError, nearest
from crowdselect_core.processes.user_command import ALLOWED
from crowdselect_core.urls import expanded

PREFIX = "CROWDSELECT_"
SAMPLE = Path(__file__).parent.parent / "sample"


def from_environment(environ: Mapping[str, str], flow: str = "select") -> dict[str, Any]:
    """Return the config keys that the environment sets; an empty variable sets none.

    Raises:
        ConfigError: a CROWDSELECT_ variable that is no key (the nearest is named), or a mapping
            with a key twice.
    """
    values: dict[str, Any] = {}
    config = COMMANDS[flow].config
    known = {f"{PREFIX}{name.upper()}": name for name in config.model_fields}
    for name in sorted(n for n in environ if n.startswith(PREFIX) and n != ALLOWED):
        first, *rest = name.removeprefix(PREFIX).split("__")
        if f"{PREFIX}{first}" not in known:
            raise ConfigError(f"unknown environment variable {name}{nearest(name, known)}")
        if not environ[name].strip():
            continue  # Compose writes ${X:-} so
        keys = [first.lower(), *(r.lower() for r in rest)]
        try:
            value = value_of(config, keys, environ[name])
        except DuplicateKey as e:
            raise ConfigError(f"environment variable {name}: {e}") from None
        put(values, keys, value, config)
    return values


def from_file(path: str) -> dict[str, Any]:
    """Read a config file.

    Raises:
        ConfigError: it is missing, no YAML, no mapping, or a key stands twice.
    """
    try:
        found = read_yaml(Path(expanded(path)).read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"config file {path!r} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        cause = " ".join(str(e).split())
        raise ConfigError(f"config file {path!r} cannot be read as YAML: {cause}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"config file {path!r} holds no mapping of keys, e.g. 'budget: 1000'")
    return found


def load(
    file: str | None,
    flags: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    flow: str = "select",
) -> SelectConfig:
    """Merge flags over environment over file over defaults, and check the result.

    Without a data set anywhere, the embedded sample with its own config stands in for the file.

    Raises:
        UserError: a key or value that cannot be, in one line.
    """
    set_by = [from_environment(os.environ if environ is None else environ, flow), flags]
    command = COMMANDS[flow]
    values = from_file(file) if file else {}
    if command.sample and not file and not any(_names_data(layer) for layer in set_by):
        values = from_file(str(SAMPLE / "config.yaml")) | {"dataset": str(SAMPLE / "zoo.parquet")}
    for layer in set_by:
        values = _merged(values, layer, command.config)
    _crowd_first(values)
    return checked(command.config, values).resolved(scores=SCORES in command.steps)


def _names_data(layer: Mapping[str, Any]) -> bool:
    """Tell whether a layer names a data set, or a file that is trained on instead."""
    training = layer.get("training")
    return "dataset" in layer or (isinstance(training, dict) and "train_file" in training)


def _crowd_first(values: dict[str, Any]) -> None:
    """Read a crowd that is named as a file; its reward models stand unless others are named."""
    crowd = values.get("crowd")
    if isinstance(crowd, str):
        file = read_crowd(crowd)
        values["crowd"] = file.crowd
        if not values.get("reward_models"):
            values["reward_models"] = file.reward_models


def put(
    values: dict[str, Any], where: Sequence[str], value: Any, config: type[BaseModel] | None
) -> None:
    """Set a nested key; what stands for a whole section by its bare name becomes its keys.

    Args:
        values: the keys set so far.
        where: the keys that lead to it, a section's first.
        value: its value.
        config: the config whose keys `values` are.
    """
    for part in where[:-1]:
        config = _section(config, part)
        values[part] = _keys(config, values.get(part, {}))
        values = values[part]
    values[where[-1]] = value


def _section(config: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """Return the config that is the value of a key, if it is one."""
    field = config.model_fields.get(key) if config else None
    found = configs_in(field.annotation, in_lists=False) if field else []
    return found[0] if len(found) == 1 else None


def _keys(section: type[BaseModel] | None, value: Any) -> dict[str, Any]:
    """Return a section's keys, those that a bare name stands for too."""
    if isinstance(value, str) and section and issubclass(section, Named):
        return section.from_name(value)
    return value if isinstance(value, dict) else {}


def _merged(
    below: Mapping[str, Any], above: Mapping[str, Any], config: type[BaseModel] | None
) -> dict[str, Any]:
    """Lay one layer of keys over another.

    A bare path replaces the data set's path alone, and a bare `ray` leaves the cluster's keys; a
    bare embedder is another one altogether.
    """
    merged = dict(below)
    for name, value in above.items():
        section, lower = _section(config, name), merged.get(name)
        if isinstance(value, str) and section and issubclass(section, Named):
            keys = _keys(section, lower)
            value = section.from_name(value) if section.keeps_keys(value, keys) else value
        if isinstance(value, dict) and isinstance(lower, str | dict):
            value = _merged(_keys(section, lower), value, section)
        merged[name] = value
    return merged
