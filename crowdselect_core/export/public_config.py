"""A config as it may be published: what made the rows, and nothing of the machine or its owner."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export.public_keys import public_keys
from crowdselect_core.ingest.open import is_on_hub
from crowdselect_core.urls import is_url, shown_path


def public_config(config: SelectConfig) -> dict[str, Any]:
    """Return the public keys that are not their defaults, local paths by their last name.

    Args:
        config: resolved, as the user gave it.
    """
    told = public_part(config, config.model_dump(mode="json", exclude_defaults=True))
    told["dataset"] = told["dataset"] | {"path": public_source(config.dataset)}
    return dict(told)


def public_part(value: Any, dumped: Any) -> Any:
    """Return what may be published of a value of a config.

    Args:
        value: as the config holds it; what is a config itself is published by its `public_keys`.
        dumped: the same as JSON holds it, without defaults.
    """
    if isinstance(value, BaseModel) and isinstance(dumped, dict):
        public = public_keys(type(value))
        found = {k: public_part(getattr(value, k), v) for k, v in dumped.items() if k in public}
        return {k: v for k, v in found.items() if v is not None}
    if isinstance(value, list | tuple) and isinstance(dumped, list):
        return [public_part(*both) for both in zip(value, dumped, strict=True)]
    if isinstance(dumped, dict):
        held = value if isinstance(value, dict) else {}
        return {k: public_part(held.get(k), v) for k, v in dumped.items()}
    return _text(dumped) if isinstance(dumped, str) else dumped


def public_source(dataset: DatasetConfig) -> str:
    """Name a data set: its hub id or URL, of a local one the last name of its path."""
    path = dataset.path
    return path if is_on_hub(path) else public_path(path)


def public_path(path: str) -> str:
    """Return a path as it may be published: a URL without credentials, of a local one its name."""
    return shown_path(path) if is_url(path) else Path(path).name


def _text(value: str) -> str:
    """Cut a local path to its last name; other texts stay."""
    local = value.startswith(("/", "~", "./", "../", "..\\", ".\\")) or _exists(value)
    if is_url(value):
        return shown_path(value)
    return Path(value).name if local else value


def _exists(value: str) -> bool:
    try:
        return "/" in value and Path(value).exists()
    except (OSError, ValueError):  # too long, or a NUL
        return False
