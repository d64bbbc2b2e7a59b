"""The model card of a trained model: base, recipe, rows, losses."""

import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData


def model_card(told: Mapping[str, Any]) -> str:
    """Return README.md of OUT/model.

    Args:
        told: what OUT/training.json says of the training.
    """
    recipe = told["recipe"]
    kind = "LoRA adapter" if recipe["peft"] else "full fine-tuning"
    base = told["base_model"]
    is_hub_id = recipe["base"].startswith("commit:")
    data = ModelCardData(
        base_model=base if is_hub_id else None,
        library_name="peft" if recipe["peft"] else "transformers",
        pipeline_tag="text-generation",
        tags=["sft", "trl", "crowdselect"],
    )
    rows = [
        ("Base model", f"{_plain(base)} ({recipe['base'][:19]}...)"),
        ("Kind", f"SFT, {kind}, loss on {recipe['train_on']} answers only"),
        ("Rows", f"{told['rows']:,} ({told['trained_tokens']:,} trained tokens an epoch)"),
        ("Rows, sha256", told["rows_sha256"]),
        ("Steps", f"{told['steps']:,}"),
        ("Loss of the first and last step", f"{told['first_loss']:.4f}, {told['last_loss']:.4f}"),
        ("Key in the store", f"model/{told['key']}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = (
        f"---\n{data.to_yaml()}\n---\n\n# A model trained on a CrowdSelect selection\n\n"
        f"| | |\n|---|---|\n{table}\n\n## Recipe\n\n```json\n"
        f"{json.dumps(recipe, indent=1, sort_keys=True)}\n```\n\n"
        "The licences of the base model and of the data hold for this model too.\n"
    )
    return str(ModelCard(text))


def _plain(text: str) -> str:
    """Return a name as a table of Markdown may have it."""
    return "".join(c if c.isalnum() or c in "-_./: " else "?" for c in text)
