"""A config as it may be published: what made the rows, and nothing of the machine or its owner."""

from pathlib import Path
from typing import Any

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.open import is_on_hub
from crowdselect_core.urls import is_url, shown_path

# Keys of a run, and of steps after the selection.
_RUN = {
    *("store", "out", "credentials_block", "workers", "shard_rows", "max_failure_rate"),
    *("training", "evaluation", "push_to", "figures"),
}
# Keys at any depth that say where or how fast something ran, or that may hold private texts.
_PRIVATE = {
    *("base_url", "api_key_env", "api_key_block", "default_headers", "extra_body", "concurrency"),
    *("timeout", "startup_timeout", "max_retries", "restarts", "environment", "python", "args"),
    *("storage_options", "device", "price", "rate", "batch_size", "command", "system_prompt"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
}


def public_config(config: SelectConfig) -> dict[str, Any]:
    """Return the keys that are not their defaults, local paths by their last name.

    Addresses, credentials' names, hardware and system prompts are left out.

    Args:
        config: resolved, as the user gave it.
    """
    told = config.model_dump(mode="json", exclude_defaults=True, exclude=_RUN)
    cleaned = _cleaned(told)
    cleaned["dataset"] = _cleaned(told["dataset"]) | {"path": public_source(config.dataset)}
    return dict(cleaned)


def public_source(dataset: DatasetConfig) -> str:
    """Name a data set: its hub id or URL, of a local one the last name of its path."""
    path = dataset.path
    return path if is_on_hub(path) else public_path(path)


def public_path(path: str) -> str:
    """Return a path as it may be published: a URL without credentials, of a local one its name."""
    return shown_path(path) if is_url(path) else Path(path).name


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _cleaned(v) for k, v in value.items() if k not in _PRIVATE and v is not None}
    if isinstance(value, list):
        return [_cleaned(v) for v in value]
    if isinstance(value, str):
        return _text(value)
    return value


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
