"""The model card of a model that a command of the user's trained."""

import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData


def own_card(told: Mapping[str, Any]) -> str:
    """Return README.md of OUT/model.

    Args:
        told: what OUT/training.json says of the training.
    """
    recipe = told["recipe"]
    is_hub_id = recipe["base"].startswith("commit:")
    data = ModelCardData(
        base_model=told["base_model"] if is_hub_id else None,
        library_name="peft" if recipe["peft"] else "transformers",
        pipeline_tag="text-generation",
        tags=["crowdselect"],
    )
    text = (
        f"---\n{data.to_yaml()}\n---\n\n# A model trained on a CrowdSelect selection\n\n"
        f"Trained by a command of the user's on {told['rows']:,} rows (sha256 "
        f"{told['rows_sha256']}); key in the store: model/{told['key']}.\n\n"
        f"## Recipe\n\n```json\n{json.dumps(recipe, indent=1, sort_keys=True)}\n```\n\n"
        "The licences of the base model and of the data hold for this model too.\n"
    )
    return str(ModelCard(text))
