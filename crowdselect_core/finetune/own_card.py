"""The model card of a model that a command of the user's trained."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from crowdselect_core.finetune.licenses import license_rows, plain


def own_card(told: Mapping[str, Any]) -> str:
    """Return README.md of OUT/model.

    Args:
        told: what OUT/training.json says of the training.
    """
    recipe = told["recipe"]
    data = {
        "library_name": "peft" if recipe["peft"] else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["crowdselect"],
    }
    if recipe["base"].startswith("commit:"):  # a hub id; a folder's name says nothing to others
        data["base_model"] = told["base_model"]
    # A card is published, and the text of a command is its user's: paths, hosts, whatever it holds.
    told_of = {name: value for name, value in recipe.items() if name != "command"}
    shown = json.dumps(told_of, indent=1, sort_keys=True)
    lines = "".join(f"{name}: {plain(value)}.\n\n" for name, value in license_rows(told))
    return (
        f"---\n{yaml.safe_dump(data)}---\n\n# A model trained on a CrowdSelect selection\n\n"
        f"Trained by a command of the user's on {told['rows']:,} rows (sha256 "
        f"{told['rows_sha256']}); key in the store: model/{told['key']}.\n\n"
        f"## Recipe\n\n```json\n{shown}\n```\n\n"
        f"{lines}The licences of the base model and of the data hold for this model too.\n"
    )
