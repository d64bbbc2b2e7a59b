"""Sequence-classification reward models, run by transformers in this process.

Array names carry their shape: B rows of a batch, S positions, H heads.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch

from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.models.batching import by_length, device_of, dtype_of, pad
from crowdselect_core.models.loading import load_tokenizer, origin
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.classifier import adapters
from crowdselect_core.reward.classifier.inputs import (
    Pair,
    PairEncoder,
    set_pad_token,
)

WINDOW = 64  # batches' worth of tokens that are sorted by length at a time
WINDOW_ROWS = 8192  # and so many pairs at most


class ClassifierScorer:
    """One sequence classifier and the chat template of its own tokenizer.

    A pair longer than max_length loses the end of its answer and is marked truncated; where the
    prompt alone fills max_length, the pair has no score. Scores come in float32.
    """

    def __init__(self, config: ClassifierReward) -> None:
        """Read the model's config and tokenizer; its weights are loaded when first needed.

        Raises:
            ConfigError: no such model, one that is no known reward model, no chat template, a head
                that it does not have, or max_length beyond its positions.
        """
        self._config = config
        name = config.model
        self._place, self._options = origin(name, config.revision, config.trust_remote_code)
        self.device = device_of(config.device)
        self._model_config = adapters.load_config(self._place, self._options)
        self._adapter = adapters.adapter_of(
            name, self._model_config, trust_remote_code=config.trust_remote_code
        )
        known = self._adapter.heads(name, self._model_config)
        self.heads = adapters.kept_heads(name, known, config.heads)
        self._kept = [known.index(head) for head in self.heads]
        self._width = len(known)
        self.tokenizer = load_tokenizer(
            name, config.revision, config.trust_remote_code, whose="reward model"
        )
        self.pad_id = set_pad_token(name, self.tokenizer, self._model_config)
        self.encoder = PairEncoder(name, self.tokenizer, config.max_length)
        self._tokens = config.batch_tokens
        check_positions(config, self._model_config)

    @cached_property
    def model(self) -> Any:
        """The model on its device; loads it.

        Raises:
            ConfigError: it cannot be loaded, see `adapters.load_model`.
        """
        options = {**self._options, "config": self._model_config}
        options["dtype"] = dtype_of(self._config.dtype)
        if self._config.attn_implementation is not None:
            options["attn_implementation"] = self._config.attn_implementation
        architecture = adapters.architecture_of(self._config.model, self._model_config)
        return adapters.load_model(self._place, architecture, options).to(self.device)

    @property
    def precise(self) -> bool:
        """Whether the model computes in float32 or better."""
        return self.model.dtype in (torch.float32, torch.float64)

    def check(self) -> None:
        """Nothing beyond what was read at the start: config, tokenizer, template and device."""

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item; see `base.Scorer`.

        Raises:
            ConfigError: the model cannot be loaded, or not even one pair fits in memory.
        """
        window: list[Pair] = []
        tokens = 0
        for item in items:
            pair = self.encode(item)
            if isinstance(pair, Score):
                done(pair)
                continue
            window.append(pair)
            tokens += len(pair.ids)
            if tokens >= WINDOW * self._config.batch_tokens or len(window) >= WINDOW_ROWS:
                self._score_window(window, done)
                window, tokens = [], 0
        self._score_window(window, done)

    def encode(self, item: Item) -> Pair | Score:
        """Return the token ids of a pair, or a score that says why there are none."""
        return self.encoder.encode(item)

    def close(self) -> None:
        """Let go of the model."""
        self.__dict__.pop("model", None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def score_ids(self, rows: Sequence[list[int]], *, left: bool = False) -> list[list[float]]:
        """Score pairs in one batch, padded on one side; every score that the adapter reads."""
        ids_BS, mask_BS = pad(rows, self.pad_id, left=left)
        with torch.inference_mode():
            output = self.model(
                input_ids=ids_BS.to(self.device), attention_mask=mask_BS.to(self.device)
            )
            scores_BH = self._adapter.read(output).float()
        if tuple(scores_BH.shape) != (len(rows), self._width):
            raise ConfigError(
                f"reward model {self._config.model!r} returned scores of shape "
                f"{list(scores_BH.shape)} for {len(rows)} pairs, expected {self._width} each"
            )
        return [[row[head] for head in self._kept] for row in scores_BH.tolist()]

    def _score_window(self, window: list[Pair], done: Callable[[Score], None]) -> None:
        lengths = [len(pair.ids) for pair in window]
        for batch in by_length(lengths, tokens=self._tokens):
            pairs = [window[row] for row in batch]
            for pair, scores in zip(pairs, self._within_memory(pairs), strict=True):
                done(_score(pair, scores))

    def _within_memory(self, pairs: list[Pair]) -> list[list[float]]:
        """Score a batch, in halves where it does not fit; later windows keep to what fitted."""
        try:
            return self.score_ids([pair.ids for pair in pairs])
        except (RuntimeError, MemoryError) as e:
            if not _out_of_memory(e):
                raise
        # Out of the except block, so that the traceback no longer holds the batch's tensors.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        longest = max(len(pair.ids) for pair in pairs)
        if len(pairs) == 1:
            raise ConfigError(
                f"reward model {self._config.model!r}: one pair of {longest} tokens does not fit "
                f"in the memory of {self.device}: lower max_length ({self._config.max_length}), or "
                "batch_tokens where the batches before it took the memory"
            )
        middle = len(pairs) // 2
        self._tokens = min(self._tokens, longest * (len(pairs) - middle))
        return self._within_memory(pairs[:middle]) + self._within_memory(pairs[middle:])


def check_positions(config: ClassifierReward, model_config: Any) -> None:
    """Check that the model has as many positions as pairs may have tokens.

    Raises:
        ConfigError: it has fewer.
    """
    positions = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and config.max_length > positions:
        raise ConfigError(
            f"reward model {config.model!r} reads {positions} tokens at most, found max_length "
            f"{config.max_length}: set max_length to {positions} or less"
        )


def _out_of_memory(error: RuntimeError | MemoryError) -> bool:
    # torch has a class of its own for this on a GPU alone; a CPU's allocator only says so.
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def _score(pair: Pair, scores: list[float]) -> Score:
    if not all(map(math.isfinite, scores)):
        why = f"the model gave {scores[:3]}; try dtype float32 or another attn_implementation"
        return unscored(pair.key, "not_finite", why, Failure.ROW)
    return Score(pair.key, tuple(scores), truncated=pair.truncated)
