"""Flags over environment over file over defaults, merged into one config."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import explain
from crowdselect_core.errors import ConfigError, nearest

PREFIX = "CROWDSELECT_"


SAMPLE = Path(__file__).parent.parent / "sample"


CONFIGS: dict[str, type[SelectConfig]] = {"reselect": ReselectConfig}


def from_environment(environ: Mapping[str, str], flow: str = "select") -> dict[str, Any]:
    """Return the config keys that the environment sets; lists, maps and booleans are YAML.

    Numbers and dates stay text, which the config reads where it wants a number.

    Raises:
        ConfigError: a CROWDSELECT_ variable that is no key (the nearest is named).
    """
    values: dict[str, Any] = {}
    fields = CONFIGS.get(flow, SelectConfig).model_fields
    if flow == "evaluate":
        fields = EvaluateConfig.model_fields | ReselectConfig.model_fields
    known = {f"{PREFIX}{name.upper()}": name for name in fields}
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        first, *rest = name.removeprefix(PREFIX).split("__")
        if f"{PREFIX}{first}" not in known:
            raise ConfigError(f"unknown environment variable {name}{nearest(name, known)}")
        try:
            value = yaml.safe_load(environ[name])
        except yaml.YAMLError:
            value = environ[name]
        if not isinstance(value, list | dict | bool | None):
            value = environ[name]
        _put(values, (first.lower(), *(r.lower() for r in rest)), value)
    return values


def from_file(path: str) -> dict[str, Any]:
    """Read a config file.

    Raises:
        ConfigError: it is missing, no YAML, or no mapping.
    """
    try:
        found = yaml.safe_load(Path(path).read_text("utf-8"))
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
    config = CONFIGS.get(flow, SelectConfig)
    values = from_file(file) if file else {}
    if not file and not any("dataset" in layer for layer in set_by):
        values = from_file(str(SAMPLE / "config.yaml")) | {"dataset": str(SAMPLE / "zoo.parquet")}
    for layer in set_by:
        values = _merged(values, layer)
    response = values.get("response")
    if isinstance(response, str) and "," in response:
        values["response"] = [name.strip() for name in response.split(",") if name.strip()]
    _crowd_first(values)
    try:
        return config.model_validate(values).resolved(scores=flow != "generate")
    except ValidationError as e:
        raise ConfigError(explain(e, config)) from None


def load_evaluation(
    file: str | None, flags: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> EvaluateConfig:
    """Merge flags over environment over file over defaults for an evaluation.

    The file and the environment may hold what the other flows are told; that is not read.

    Raises:
        UserError: a key or value that cannot be, in one line.
    """
    values = from_file(file) if file else {}
    for layer in (from_environment(os.environ if environ is None else environ, "evaluate"), flags):
        values = _merged(values, layer)
    others = set(ReselectConfig.model_fields) - set(EvaluateConfig.model_fields)
    values = {name: value for name, value in values.items() if name not in others}
    try:
        return EvaluateConfig.model_validate(values).resolved()
    except ValidationError as e:
        raise ConfigError(explain(e, EvaluateConfig)) from None


def _crowd_first(values: dict[str, Any]) -> None:
    """Read a crowd that is named as a file; its reward models stand unless others are named."""
    crowd = values.get("crowd")
    if isinstance(crowd, str):
        file = read_crowd(crowd)
        values["crowd"] = file.crowd
        if not values.get("reward_models"):
            values["reward_models"] = file.reward_models


def _put(values: dict[str, Any], where: Sequence[str], value: Any) -> None:
    """Set a nested key; what stands for a whole section by its bare name becomes its keys."""
    for part in where[:-1]:
        values[part] = _section(part, values.get(part, {}))
        values = values[part]
    values[where[-1]] = value


def _section(name: str, value: Any) -> dict[str, Any]:
    """Return a section's keys: a bare data set is its path, a bare embedder its name."""
    if isinstance(value, str) and name == "dataset":
        return {"path": value}
    if isinstance(value, str) and name == "embedder":
        return EmbedderConfig.from_name(value)
    return value if isinstance(value, dict) else {}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one layer of keys over another.

    A bare path replaces the data set's path alone; a bare embedder is another one altogether.
    """
    merged = dict(below)
    for name, value in above.items():
        there = merged.get(name)
        if name == "dataset" and isinstance(value, str):
            value = _section(name, value)
        if isinstance(value, dict) and isinstance(there, str | dict):
            value = _merged(_section(name, there), value)
        merged[name] = value
    return merged
