"""Loading a causal language model that runs in this process, and fitting batches in its memory."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from crowdselect_core.config.engine import TransformersEngineConfig
from crowdselect_core.config.reward import ModelReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.batching import device_of, dtype_of
from crowdselect_core.models.loading import load_tokenizer, origin, unloadable

T = TypeVar("T")


class OutOfMemory(RuntimeError):
    """Not even one row fits in the memory of the device."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a causal model comes from and how it is run; `where` begins every complaint."""

    where: str
    model: str
    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    attn_implementation: str | None = None
    trust_remote_code: bool = False

    @classmethod
    def of(
        cls, where: str, config: TransformersEngineConfig | ModelReward, revision: str | None
    ) -> "Source":
        """Take the keys of an engine's or a reward model's config.

        Raises:
            ConfigError: no model is named.
        """
        if config.model is None:
            raise ConfigError(f"{where}: engine transformers needs model: a folder or a hub id")
        return cls(
            where,
            config.model,
            revision,
            config.dtype,
            config.device,
            config.attn_implementation,
            config.trust_remote_code,
        )

    def config(self) -> Any:
        """Load the model's own config, which names its architecture; no weights are read.

        Raises:
            ConfigError: there is none, it is no causal language model's, or a folder without
                safetensors weights.
        """
        place, options = self._origin()
        try:
            config = AutoConfig.from_pretrained(place, **options)
        except Exception as e:
            expected = "a folder or hub id with a model's config.json"
            raise unloadable(self._named, e, self.trust_remote_code, expected) from None
        remote = getattr(config, "auto_map", None) or {}
        if type(config) not in AutoModelForCausalLM._model_mapping and (
            "AutoModelForCausalLM" not in remote
        ):
            raise ConfigError(
                f"{self._named} is of type {config.model_type!r}, which is no causal language "
                "model, expected one that generates text (AutoModelForCausalLM)"
            )
        if options["local_files_only"] and not any(Path(place).glob("*.safetensors")):
            raise ConfigError(
                f"{self._named} contains no *.safetensors file: weights are read from safetensors "
                "only; convert them with save_pretrained"
            )
        return config

    def tokenizer(self) -> Any:
        """Load the tokenizer.

        Raises:
            ConfigError: see `load_tokenizer`.
        """
        try:
            return load_tokenizer(self.model, self.revision, self.trust_remote_code)
        except ConfigError as e:
            raise ConfigError(f"{self.where}: {e}") from None

    def load(self) -> Any:
        """Load the weights onto the device, ready for inference.

        Raises:
            ConfigError: it cannot be loaded, no such device, or the device is too small for it.
        """
        device = device_of(self.device)
        place, options = self._origin()
        if self.attn_implementation is not None:
            options["attn_implementation"] = self.attn_implementation
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                place,
                dtype=dtype_of(self.dtype),
                use_safetensors=True,
                **options,
            )
            return model.to(device).eval()
        except torch.OutOfMemoryError:
            raise ConfigError(
                f"{self._named} does not fit in the memory of {device}: set dtype: bfloat16, name "
                "another device, or run it with engine vllm over several GPUs"
            ) from None
        except Exception as e:
            expected = "a causal language model with safetensors weights"
            raise unloadable(self._named, e, self.trust_remote_code, expected) from None

    @property
    def _named(self) -> str:
        return f"{self.where}: model {self.model!r}"

    def _origin(self) -> tuple[str, dict[str, Any]]:
        try:
            return origin(self.model, self.revision, self.trust_remote_code)
        except ConfigError as e:
            raise ConfigError(f"{self.where}: {e}") from None


def positions(config: Any) -> int | None:
    """Return the tokens that a model of this config reads at most, None where it says nothing."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    most = getattr(text, "max_position_embeddings", None)
    return int(most) if most else None


def takes(model: Any, argument: str) -> bool:
    """Say whether a model's forward pass knows an argument."""
    return argument in inspect.signature(model.forward).parameters


def in_parts(rows: Sequence[int], compute: Callable[[Sequence[int]], T]) -> list[T]:
    """Compute rows together, or in halves as often as memory makes it necessary.

    Raises:
        OutOfMemory: one row alone does not fit.
    """
    try:
        return [compute(rows)]
    except (torch.OutOfMemoryError, RuntimeError) as e:
        if not is_out_of_memory(e):
            raise
        if len(rows) == 1:
            raise OutOfMemory(str(e)) from None
    # Outside the except: the error's traceback holds the tensors of the failed attempt.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = (len(rows) + 1) // 2
    return in_parts(rows[:half], compute) + in_parts(rows[half:], compute)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an error means that the memory of the device did not suffice."""
    # The CPU's allocator has no error class of its own.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
