"""What a training needs: memory and disk, by formulas that are stated; no weights are read."""

from dataclasses import dataclass
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.recipe import weights_dtype

BYTES = {"float32": 4, "bfloat16": 2}
ADAM = 8  # bytes a trained weight: two moments in float32
GRADIENT = 4  # bytes a trained weight, in float32
KEPT = 2  # checkpoints that stay
LORA_BYTES = 4  # an adapter is float32


@dataclass(frozen=True)
class Estimate:
    """What a training needs.

    Args:
        parameters: of the base model.
        trained: parameters that are trained.
        memory: bytes of the weights, their gradients and the optimizer's moments; activations come
            on top.
        checkpoint: bytes of one checkpoint.
        reference: bytes of a second copy of the weights, the reference of DPO with all weights;
            they are in `memory`.
        merged: bytes of the weights with the adapter merged into them.
    """

    parameters: int
    trained: int
    memory: int
    checkpoint: int
    reference: int = 0
    merged: int = 0

    @property
    def disk(self) -> int:
        """Bytes in the temporary folder: the trainer's last two checkpoints and the model."""
        return (KEPT + 1) * self.checkpoint

    @property
    def lines(self) -> list[str]:
        """The estimate in words, with its formulas."""
        second = f" (and {self.reference / 1e9:.2f} GB of the reference)" if self.reference else ""
        lines = [
            f"memory     {self.memory / 1e9:.2f} GB: weights{second}, and 12 bytes (gradient 4, "
            f"Adam 8) a trained parameter ({self.trained:,} of {self.parameters:,}); activations "
            "not counted",
            f"disk       {self.disk / 1e9:.2f} GB in TMPDIR and as much in the store: two "
            f"checkpoints and the model, {self.checkpoint / 1e9:.2f} GB each",
        ]
        if self.merged:
            lines.append(f"merged     {self.merged / 1e9:.2f} GB more in TMPDIR, store and OUT")
        return lines


def estimate(config: TrainingConfig, model_config: Any, gpu: bool) -> Estimate:
    """Estimate a training from the base model's config.

    memory = weights x bytes + trained x (gradient + moments), and the weights once more for the
    reference of DPO with all weights; checkpoint = trained x (weights + moments). LoRA trains
    r x (inputs + outputs) parameters of every adapted matrix.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(model_config)
    parameters = sum(p.numel() for p in model.parameters())
    weight = BYTES[weights_dtype(config, gpu)]
    trained = parameters if config.peft is None else _adapted(model, config)
    own = weight if config.peft is None else LORA_BYTES
    memory = parameters * weight + trained * (GRADIENT + ADAM)
    if config.peft:
        memory += trained * LORA_BYTES
    has_reference = config.loss == "dpo" and config.peft is None
    reference = parameters * weight if has_reference else 0
    merged = parameters * weight if config.merge else 0
    checkpoint = trained * (own + ADAM)
    return Estimate(parameters, trained, memory + reference, checkpoint, reference, merged)


def _adapted(model: Any, config: TrainingConfig) -> int:
    """Return the parameters of the LoRA matrices."""
    import torch

    if config.peft is None:
        return 0
    names, r = config.peft.target_modules, config.peft.r

    def is_adapted(name: str) -> bool:
        if names == "all-linear":
            return not name.endswith("lm_head")
        wanted = [names] if isinstance(names, str) else names
        return any(name == one or name.endswith(f".{one}") for one in wanted)

    return sum(
        r * (module.in_features + module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and is_adapted(name)
    )
