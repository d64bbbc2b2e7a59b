"""The model card of a trained model: base, recipe, rows, losses."""

import json
from collections.abc import Mapping
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from crowdselect_core.finetune.licenses import license_rows, plain

NAMES = {"dpo": "DPO", "simpo": "SimPO", "orpo": "ORPO"}


def model_card(told: Mapping[str, Any]) -> str:
    """Return README.md of OUT/model.

    Args:
        told: what OUT/training.json says of the training; losses are None before it.
    """
    recipe = told["recipe"]
    loss, is_adapter = recipe["loss"], bool(recipe["peft"]) and not told.get("merged")
    base = told["base_model"]
    is_hub_id = recipe["base"].startswith("commit:")
    data = ModelCardData(
        base_model=base if is_hub_id else None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=[loss, "trl", "crowdselect"],
    )
    rows = [
        ("Base model", f"{plain(base)} ({recipe['base'][:19]}...)"),
        ("Kind", _kind(recipe, bool(told.get("merged")))),
        (
            "Rows" if loss == "sft" else "Preference pairs",
            f"{told['rows']:,} ({told['trained_tokens']:,} trained tokens an epoch)",
        ),
        ("Rows, sha256", told["rows_sha256"]),
        ("Steps", f"{told['steps']:,}"),
        ("Loss of the first and last step", _losses(told)),
        ("Key in the store", f"model/{told['key']}"),
        *((name, plain(value)) for name, value in license_rows(told)),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    text = (
        f"---\n{data.to_yaml()}\n---\n\n# A model trained on a CrowdSelect selection\n\n"
        f"| | |\n|---|---|\n{table}\n\n## Recipe\n\n```json\n"
        f"{json.dumps(recipe, indent=1, sort_keys=True)}\n```\n\n"
        "The licences of the base model and of the data hold for this model too.\n"
    )
    return str(ModelCard(text))


def _kind(recipe: Mapping[str, Any], merged: bool) -> str:
    lora = "LoRA merged into the weights" if merged else "LoRA adapter"
    weights = lora if recipe["peft"] else "full fine-tuning"
    if recipe["loss"] == "sft":
        return f"SFT, {weights}, loss on {recipe['train_on']} answers only"
    numbers = [f"{n} {recipe[n]:g}" for n in ("beta", "simpo_gamma") if n in recipe]
    return f"{NAMES[recipe['loss']]}, {weights}, {', '.join(numbers)}, loss on the answers only"


def _losses(told: Mapping[str, Any]) -> str:
    if told["first_loss"] is None:
        return "not trained yet"
    return f"{told['first_loss']:.4f}, {told['last_loss']:.4f}"
