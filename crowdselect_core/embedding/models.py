"""Embeddings by a sentence-transformers model, from a folder or the hub.

Array names carry their shape: N texts, W width.
"""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from crowdselect_core.config import EmbedderConfig
from crowdselect_core.embedding.base import Embedder, Vectors
from crowdselect_core.errors import ConfigError, first_line, nearest, shown
from crowdselect_core.weights import local_folder

BLOCK_ROWS = 8192  # texts sorted by length at a time, which bounds what is held in memory
PAD_TO = 16  # tokens
COUNT_ROWS = 256  # texts tokenised at a time to learn their lengths


def load_model(config: EmbedderConfig) -> Embedder:
    """Load the model that a config names.

    Raises:
        ConfigError: see `SentenceTransformerEmbedder`.
    """
    return SentenceTransformerEmbedder(config)


class SentenceTransformerEmbedder:
    """A sentence-transformers model.

    Weights are read from safetensors only, and code from the model's repository runs only with
    `trust_remote_code` (that code may come from yet another repository, which `revision` does not
    pin). What remains of pickle: a module behind the transformer (a dense layer) that has no
    safetensors file is read with torch's restricted unpickler (`weights_only=True`).

    On a CPU a text's vector does not depend on the texts beside it or on the batch size, to the
    last bit (checked with float32): texts are batched with those that need as many multiples of 16
    tokens, so each is always padded to the same length. Without that, the same text moved by 2e-7
    from batch to batch, enough to change clusters. On a GPU kernels are chosen by the batch's
    shape, and the last bits may differ.
    """

    def __init__(self, config: EmbedderConfig) -> None:
        """Load the model and embed one text with it.

        Args:
            config: kind sentence-transformers; keys model, revision, trust_remote_code, task
                (jina-embeddings-v3: text-matching), prompt_name, normalize, batch_size, device,
                max_length, dtype.

        Raises:
            ConfigError: sentence-transformers is not installed, the model cannot be loaded, or it
                has no such task, prompt or length.
        """
        self._config = config
        self._name = str(config.model)
        self._lock = Lock()
        self._model = _load(config)
        _check_names(self._model, config)
        _set_max_length(self._model, config)
        try:
            self._width = int(self.transform(["one text"]).shape[1])
        except Exception as e:
            raise ConfigError(
                f"embedder {self._name!r} cannot embed a text: {first_line(e)}; check task, "
                "prompt_name, device and dtype"
            ) from None

    @property
    def width(self) -> int:
        """Components of a vector, at least 1."""
        return self._width

    def transform(self, texts: Sequence[str]) -> Vectors:
        """Return vectors_NW, of length 1 if the config says `normalize`.

        One caller at a time: tokenizers are not safe to share between threads, and a device gains
        nothing from two.
        """
        vectors: list[Vectors] = []
        with self._lock:
            for start in range(0, len(texts), BLOCK_ROWS):
                vectors.append(self._block(list(texts[start : start + BLOCK_ROWS])))
        return np.concatenate(vectors) if vectors else np.zeros((0, self._width), np.float32)

    def _block(self, texts: list[str]) -> Vectors:
        vectors_NW: Vectors | None = None
        for rows, padding in self._alike(texts):
            some = self._encode([texts[row] for row in rows], padding)
            if vectors_NW is None:
                vectors_NW = np.empty((len(texts), some.shape[1]), dtype=np.float32)
            vectors_NW[rows] = some
        if vectors_NW is None:
            raise RuntimeError("a block of no texts")
        return vectors_NW

    def _alike(self, texts: list[str]) -> list[tuple[list[int], dict[str, Any]]]:
        """Group texts that are padded to one length; longest first, so that memory runs out early.

        Returns:
            (rows, keywords for `encode`) of each group; one group where the model pads itself.
        """
        model = self._model
        if not hasattr(model[0], "processing_kwargs"):  # a module of the repository's own
            return [(list(range(len(texts))), {})]
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        prompt = model.prompts.get(self._config.prompt_name or model.default_prompt_name)
        task = {"task": self._config.task} if self._config.task else {}
        groups: dict[int, list[int]] = {}
        for start in range(0, len(order), COUNT_ROWS):
            rows = order[start : start + COUNT_ROWS]
            features = model.preprocess([texts[row] for row in rows], prompt=prompt, **task)
            if "attention_mask" not in features:  # flash attention packs texts without padding
                return [(list(range(len(texts))), {})]
            for row, tokens in zip(rows, features["attention_mask"].sum(1).tolist(), strict=True):
                groups.setdefault(-(-tokens // PAD_TO) * PAD_TO, []).append(row)
        limit = model.max_seq_length or max(groups)
        return [
            (
                groups[length],
                {
                    "processing_kwargs": {
                        "text": {"pad_to_multiple_of": PAD_TO}
                        if length <= limit
                        else {"padding": "max_length"}
                    }
                },
            )
            for length in sorted(groups, reverse=True)
        ]

    def _encode(self, texts: list[str], padding: dict[str, Any]) -> Vectors:
        config = self._config
        task = {"task": config.task} if config.task else {}
        vectors_NW: Vectors = self._model.encode(
            texts,
            prompt_name=config.prompt_name,
            batch_size=config.batch_size,
            show_progress_bar=False,
            **task,
            **padding,
        ).astype(np.float32)
        if config.normalize:  # here, not in the model: bfloat16 would leave lengths of 1 +- 0.004
            lengths_N1 = np.linalg.norm(vectors_NW, axis=1, keepdims=True)
            vectors_NW /= np.where(lengths_N1 == 0, 1, lengths_N1)
        return vectors_NW


def _load(config: EmbedderConfig) -> Any:
    """Load the model in the dtype asked for, ready to encode."""
    name = str(config.model)
    folder = local_folder(name)
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ConfigError(
            f"embedder {name!r} needs sentence-transformers: pip install 'crowdselect[models]', "
            "or use --embedder lexical"
        ) from None
    try:
        model = SentenceTransformer(
            str(folder or name),
            device=config.device,
            revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            local_files_only=folder is not None,
            model_kwargs={"use_safetensors": True},
        )
        return model.to(dtype=getattr(torch, config.dtype)).eval()
    except Exception as e:
        if "trust_remote_code" in str(e) and not config.trust_remote_code:
            raise ConfigError(
                f"embedder {name!r} runs code of its own repository: read that code, then set "
                "trust_remote_code: true, or name a model that needs none"
            ) from None
        raise ConfigError(
            f"embedder {name!r} cannot be loaded: {first_line(e)}; expected a folder or hub id of "
            "a sentence-transformers model with safetensors weights"
        ) from None


def _check_names(model: Any, config: EmbedderConfig) -> None:
    """Check that the model knows the prompt and the task: it would ignore a task in silence."""
    if config.prompt_name is not None and config.prompt_name not in model.prompts:
        known = list(model.prompts)
        raise ConfigError(
            f"embedder {config.model!r} has no prompt {config.prompt_name!r}"
            f"{nearest(config.prompt_name, known)} (known: {shown(known) or 'none'})"
        )
    if config.task is not None and "task" not in model.get_model_kwargs():
        raise ConfigError(
            f"embedder {config.model!r} takes no task, found {config.task!r}: leave task out"
        )


def _set_max_length(model: Any, config: EmbedderConfig) -> None:
    """Set the tokens after which a text is cut, at most the positions the model has."""
    if config.max_length is None:
        return
    positions = getattr(getattr(model[0], "config", None), "max_position_embeddings", None)
    if positions is not None and config.max_length > positions:
        raise ConfigError(
            f"embedder {config.model!r} reads {positions} tokens at most, found max_length "
            f"{config.max_length}: lower it, or leave it out"
        )
    model.max_seq_length = config.max_length
