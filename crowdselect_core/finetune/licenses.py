"""Licences that a trained model inherits: of its base model, and of the answers it was trained on.

Nobody's judgement: what the base model's README says, and what the config says of the crowd.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.finetune.base_model import SAMPLE, BaseModel

OF_SAMPLE = "apache-2.0"  # SmolLM2
ANSWERS_OF = ("response_model", "chosen_model", "rejected_model")
MOST = 100  # characters of a licence's name


def base_license(base: BaseModel) -> str | None:
    """Return what the front matter of the base model's README.md says; None where it says nothing.

    Of a hub id the README in the local cache is read, and nothing is asked of the hub.
    """
    if base.name == SAMPLE:
        return OF_SAMPLE
    file: Any = Path(base.source) / "README.md"
    if base.revision is not None:
        from huggingface_hub import try_to_load_from_cache

        file = try_to_load_from_cache(base.source, "README.md", revision=base.revision)
    if not isinstance(file, str | Path) or not Path(file).is_file():
        return None
    text = Path(file).read_text("utf-8", "replace")
    if not text.startswith("---\n"):
        return None
    try:
        front = yaml.safe_load(text[4:].partition("\n---")[0])
    except (yaml.YAMLError, ValueError):  # ValueError: of a date that does not exist
        return None  # of a README that is no concern of ours
    named = front.get("license_name") or front.get("license") if isinstance(front, dict) else None
    return str(named)[:MOST] if named else None


def answer_licenses(crowd: Sequence[CrowdModel], selected: pl.DataFrame) -> dict[str, str | None]:
    """Return the licence of every model whose answers are trained on, by name.

    Args:
        crowd: all models of the config.
        selected: the selection, or its pairs.
    """
    columns = [name for name in ANSWERS_OF if name in selected.columns]
    names = {name for column in columns for name in selected[column].drop_nulls().unique()}
    known = {model.name: model.license for model in crowd}
    return {name: known.get(name) for name in sorted(names)}


def crowd_licenses(config: SelectConfig) -> dict[str, str | None]:
    """Return the licence of every model of a config; none where its crowd was not read.

    A config that trains on a file is not asked whose answers stand in it.
    """
    if isinstance(config.crowd, str):
        return {}
    return {model.name: model.license for model in config.crowd}


def plain(text: str) -> str:
    """Return a name as Markdown, also a table of it, may have it."""
    return "".join(c if c.isalnum() or c in "-_./:, " else "?" for c in text)


def license_rows(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of a model card about licences.

    Args:
        told: what OUT/training.json says of the training.
    """
    licenses = told.get("licenses")
    if licenses is None:  # a model of an earlier version
        return []
    rows = [("Licence of the base model", licenses["base"] or "not stated in its README.md")]
    answers = licenses["answers"]
    if answers:
        named = ", ".join(f"{name}: {found or 'not stated'}" for name, found in answers.items())
        rows.append(("Licences of the answers, as configured", named))
    return rows
