"""Which reward models are understood: architecture -> what its outputs are called and mean.

There is no one interface: a sequence classifier has one logit, ArmoRM a gated score and 19
objectives, others more. What is not in the table is refused by name rather than guessed.

Array names carry their shape: B rows of a batch, H heads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.models.loading import unloadable

GENERIC = "ForSequenceClassification"
LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
CLASSIFIER = "a folder or hub id of a sequence classifier with safetensors weights"
FUNCTION = "or score with a function of your own (kind: function)"

# Objectives of ArmoRM-Llama3-8B-v0.1 in the order of its outputs, as its model card lists them.
ARMO_OBJECTIVES = (
    "helpsteer-helpfulness",
    "helpsteer-correctness",
    "helpsteer-coherence",
    "helpsteer-complexity",
    "helpsteer-verbosity",
    "ultrafeedback-overall_score",
    "ultrafeedback-instruction_following",
    "ultrafeedback-truthfulness",
    "ultrafeedback-honesty",
    "ultrafeedback-helpfulness",
    "beavertails-is_safe",
    "prometheus-score",
    "argilla-overall_quality",
    "argilla-judge_lm",
    "code-complexity",
    "code-style",
    "code-explanation",
    "code-instruction-following",
    "code-readability",
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """How to understand one architecture.

    `heads` names its scores from the model's config ('' first, the main one), and `read` takes
    them out of the model's output as scores_BH, higher is better.
    """

    heads: Callable[[str, Any], tuple[str, ...]]
    read: Callable[[Any], torch.Tensor]
    own_code: bool  # the class comes with the model's repository, not with transformers


def _one_label(model: str, config: Any) -> tuple[str, ...]:
    if config.num_labels != 1:
        raise ConfigError(
            f"reward model {model!r}: num_labels is {config.num_labels}, expected 1; which of its "
            f"labels is the reward cannot be told: name a model with one label, {FUNCTION}"
        )
    return ("",)


def _objectives(model: str, config: Any) -> tuple[str, ...]:
    """Name ArmoRM's objectives: the labels of its config, or else those of the model card."""
    count = int(getattr(config, "num_objectives", len(ARMO_OBJECTIVES)))
    labels = getattr(config, "id2label", None) or {}
    names = tuple(str(labels[i]) for i in sorted(labels))
    if len(names) != count or any(name == f"LABEL_{i}" for i, name in enumerate(names)):
        names = ARMO_OBJECTIVES
    if len(names) != count or len({"", *names}) != count + 1:
        raise ConfigError(
            f"reward model {model!r}: {count} objectives, and its config.json does not name them; "
            "expected one name of its own for each in id2label"
        )
    return ("", *names)


def _logits(output: Any) -> torch.Tensor:
    logits: torch.Tensor = output.logits
    return logits


def _gated(output: Any) -> torch.Tensor:
    """Join the gated score and the objectives it is made of."""
    return torch.cat([output.score.reshape(-1, 1).float(), output.rewards.float()], dim=1)


# Skywork-Reward and its V2 are Llama, Qwen3 and Gemma 2 ...ForSequenceClassification.
ADAPTERS: dict[str, Adapter] = {
    "*" + GENERIC: Adapter(_one_label, _logits, own_code=False),
    "LlamaForRewardModelWithGating": Adapter(_objectives, _gated, own_code=True),
}


def architecture_of(model: str, config: Any) -> str:
    """Return the name of the class that a model's config.json names.

    Raises:
        ConfigError: it names none.
    """
    names = getattr(config, "architectures", None) or []
    if not names:
        raise ConfigError(
            f"reward model {model!r}: its config.json names no architecture, expected one of "
            f"{shown(ADAPTERS)}; save the model with save_pretrained"
        )
    return str(names[0])


def adapter_of(model: str, config: Any, *, trust_remote_code: bool) -> Adapter:
    """Return what understands a model, by the architecture in its config.

    Raises:
        ConfigError: a language model, an unknown architecture, or one whose code comes with the
            model and is not trusted.
    """
    name = architecture_of(model, config)
    if name.endswith(LANGUAGE_MODELS):
        raise ConfigError(
            f"reward model {model!r} is a language model ({name}), expected a sequence classifier: "
            "set kind: likelihood or kind: judge, or name a reward model"
        )
    adapter = ADAPTERS.get("*" + GENERIC if name.endswith(GENERIC) else name)
    if adapter is None:
        raise ConfigError(
            f"reward model {model!r}: no adapter for the architecture {name[:80]!r}"
            f"{nearest(name, ADAPTERS)} (known: {shown(ADAPTERS)}); name another model, {FUNCTION}"
        )
    if adapter.own_code and not trust_remote_code:
        raise ConfigError(
            f"reward model {model!r} ({name}) runs code of its own repository: read that code, "
            "then set trust_remote_code: true, or name a model that needs none"
        )
    return adapter


def kept_heads(model: str, known: tuple[str, ...], wanted: list[str] | None) -> tuple[str, ...]:
    """Return the heads to keep, the main one first; all that there are where none are named.

    Raises:
        ConfigError: a head that the model does not have.
    """
    if wanted is None:
        return known
    for name in wanted:
        if name not in known[1:]:
            raise ConfigError(
                f"reward model {model!r} has no head {name[:80]!r}{nearest(name, known[1:])} "
                f"(known: {shown(known[1:]) or 'none beside the main score'})"
            )
    return ("", *(name for name in known[1:] if name in wanted))


def load_config(model: str, options: dict[str, Any]) -> Any:
    """Read a model's config.json.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, **options)
    except Exception as e:  # whatever a folder's files or a repository's code make it raise
        raise unloadable(
            f"reward model {model!r}", e, options["trust_remote_code"], CLASSIFIER
        ) from None


def load_model(model: str, architecture: str, options: dict[str, Any]) -> Any:
    """Load a classifier's weights, and see that its head is among them.

    Weights are read from safetensors only, never from pickles.

    Raises:
        ConfigError: it cannot be loaded, is of another class than its config says, or lacks
            weights, which transformers would draw at random.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        loaded, info = AutoModelForSequenceClassification.from_pretrained(
            model, use_safetensors=True, output_loading_info=True, **options
        )
    except Exception as e:
        raise unloadable(
            f"reward model {model!r}", e, options["trust_remote_code"], CLASSIFIER
        ) from None
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise ConfigError(
            f"reward model {model!r}: its weights lack {shown(missing, 3)}, which would be random; "
            "expected a trained reward model with its head"
        )
    if type(loaded).__name__ != architecture:
        raise ConfigError(
            f"reward model {model!r} loads as {type(loaded).__name__}, expected {architecture} as "
            "its config.json says; it may need trust_remote_code: true"
        )
    return loaded.eval()
