"""Embeddings by a sentence-transformers model, from a folder or the hub.

Array names carry their shape: N texts, W width.
"""

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.embedding.base import Embedder, Vectors
from crowdselect_core.errors import ConfigError, first_line, nearest, shown
from crowdselect_core.models.hub import local_folder
from crowdselect_core.models.loading import origin, unloadable
from crowdselect_core.util.extras import install

MODEL = "a folder or hub id of a sentence-transformers model with safetensors weights"
BLOCK_ROWS = 8192  # texts sorted by length at a time, which bounds what is held in memory
PAD_TO = 16  # tokens, and past 256 an eighth of the power of two below
FULL_TOKENS = 512  # batches from 256 tokens on gave the same bits; twice that, to be safe
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

    On a CPU a text's vector does not depend on the texts beside it, the batch size or the number of
    threads, to the last bit, as checked with all-MiniLM-L6-v2 in float32 at 1 to 8 threads. For
    that, a text is padded to a length that its own tokens decide and batched with texts of the
    same, and batches of few tokens, which the libraries multiply in another way, are filled up.
    Without it the same text moved by 2e-7 from batch to batch, enough to move a row at the edge of
    two clusters. With bfloat16 (by 3e-3), and on a GPU, whose kernels follow the batch's shape,
    that may still happen.
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
        self._task = {"task": config.task} if config.task else {}
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
        if not texts:
            return np.zeros((0, self._width), dtype=np.float32)
        starts = range(0, len(texts), BLOCK_ROWS)
        with self._lock:
            return np.concatenate([self._block(list(texts[s : s + BLOCK_ROWS])) for s in starts])

    def _block(self, texts: list[str]) -> Vectors:
        groups = self._alike(texts)
        if groups is None:
            return self._encode(texts, self._config.batch_size, {})
        parts = [self._encode_alike([texts[row] for row in rows], n) for n, rows in groups.items()]
        vectors_NW = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        for rows, part in zip(groups.values(), parts, strict=True):
            vectors_NW[rows] = part
        return vectors_NW

    def _alike(self, texts: list[str]) -> dict[int, list[int]] | None:
        """Group texts that are padded to one length; longest first, so that memory runs out early.

        Returns:
            The rows of each length in tokens; None where the model pads by itself or not at all.
        """
        model = self._model
        if not hasattr(model[0], "processing_kwargs"):  # a module of the repository's own
            return None
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        prompt = model.prompts.get(self._config.prompt_name or model.default_prompt_name)
        groups: dict[int, list[int]] = {}
        for start in range(0, len(order), COUNT_ROWS):
            rows = order[start : start + COUNT_ROWS]
            features = model.preprocess([texts[row] for row in rows], prompt=prompt, **self._task)
            if "attention_mask" not in features:  # flash attention packs texts without padding
                return None
            for row, tokens in zip(rows, features["attention_mask"].sum(1).tolist(), strict=True):
                groups.setdefault(_padded(tokens), []).append(row)
        # Tokens are counted after the cut to this limit, so a length cuts nothing more off.
        limit = model.max_seq_length or max(groups)
        return {min(n, limit): groups[n] for n in sorted(groups, reverse=True)}

    def _encode_alike(self, texts: list[str], length: int) -> Vectors:
        """Encode texts padded to `length` tokens, in batches that are never too small."""
        fewest = -(-FULL_TOKENS // length)
        size = max(self._config.batch_size, fewest)
        left = len(texts) % size
        filling = texts[:1] * (fewest - left if 0 < left < fewest else 0)
        padding = {"text": {"padding": "max_length", "max_length": length}}
        vectors_NW = self._encode(texts + filling, size, {"processing_kwargs": padding})
        return vectors_NW[: len(texts)]

    def _encode(self, texts: list[str], batch_size: int, options: dict[str, Any]) -> Vectors:
        vectors_NW: Vectors = self._model.encode(
            texts,
            prompt_name=self._config.prompt_name,
            batch_size=batch_size,
            show_progress_bar=False,
            **self._task,
            **options,
        ).astype(np.float32)
        # normalised here, not by the model: bfloat16 would leave lengths of 1 +- 0.004
        if self._config.normalize:
            lengths_N1 = np.linalg.norm(vectors_NW, axis=1, keepdims=True)
            vectors_NW /= np.where(lengths_N1 == 0, 1, lengths_N1)
        return vectors_NW


def _padded(tokens: int) -> int:
    """Return the length that a text of so many tokens is padded to, at most an eighth more."""
    step = max(PAD_TO, (1 << tokens.bit_length()) >> 4)
    return -(-tokens // step) * step


def _load(config: EmbedderConfig) -> Any:
    """Load the model in the dtype asked for, ready to encode."""
    name = str(config.model)
    local_folder(name)  # what is wrong with a name needs no library to be told
    try:
        import torch
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ConfigError(
            f"embedder {name!r} needs sentence-transformers, which is not installed: "
            f"{install('models')}, or use --embedder lexical"
        ) from None
    place, options = origin(name, config.revision, config.trust_remote_code)
    try:
        model = SentenceTransformer(
            place, device=config.device, model_kwargs={"use_safetensors": True}, **options
        )
        return model.to(dtype=getattr(torch, config.dtype)).eval()
    except Exception as e:
        raise unloadable(f"embedder {name!r}", e, config.trust_remote_code, MODEL) from None


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
