"""Batched generation in this process: the engine that runs anywhere, slower than a server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any

import torch

from crowdselect_core.config.engine import SamplingConfig, TransformersEngineConfig
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import (
    Answer,
    EngineDown,
    Failure,
    Request,
    checked,
    failed,
    never,
)
from crowdselect_core.generate.transformers.decoding import (
    Decoded,
    Prompt,
    end_tokens,
    generate,
    settings,
)
from crowdselect_core.models.batching import by_length
from crowdselect_core.models.causal_lm import OutOfMemory, Source, in_parts, positions
from crowdselect_core.models.chat_templates import TemplateError, check_template_kwargs, prompt_ids
from crowdselect_core.util.thinking import split_thinking

WINDOW = 8  # batches whose requests are tokenised and sorted by length together


class TransformersEngine:
    """A crowd model run by transformers' `generate`, in batches of requests of alike length.

    In float32 an answer depends neither on the requests beside it nor on their order: padding is
    masked and positions count from a row's own first token, and every row has noise of its own,
    seeded by its request's seed and key. In bfloat16 and float16 the shape of a batch moves near
    ties. A prompt and its answer never pass the context: the answer is cut there (`length`).
    """

    def __init__(
        self,
        name: str,
        config: TransformersEngineConfig,
        sampling: SamplingConfig,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        *,
        revision: str | None = None,
    ) -> None:
        """Keep the config; the model is loaded by the first `run`.

        Raises:
            ConfigError: no model is named.
        """
        self._where = f"crowd model {name!r}"
        self._config = config
        self._sampling = sampling
        self._kwargs = dict(chat_template_kwargs or {})
        self._source = Source.of(self._where, config, revision)
        self._lock = Lock()
        self._loaded: tuple[Any, Any] | None = None
        self._batch_size = config.batch_size
        exact = config.dtype == "float32"
        noise = f"{self._where}: in dtype {config.dtype} the requests of a batch can move near ties"
        self.limits: tuple[str, ...] = () if exact else (noise,)
        self.stopped: Callable[[], bool] = never

    def check(self) -> None:
        """Check the model's config, tokenizer and context, without loading weights.

        Raises:
            ConfigError: the model is not there or is no causal one, or an option cannot be.
        """
        self._context(self._source.config())
        check_template_kwargs(self._where, self._source.tokenizer(), self._kwargs)

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request, a window of batches at a time.

        Raises:
            EngineDown: one request alone does not fit in the device's memory.
        """
        while window := list(islice(requests, WINDOW * self._config.batch_size)):
            self._check_stop()
            model, tokenizer = self._load()
            prompts: list[Prompt] = []
            for request in window:
                prompt = self._prompt(tokenizer, self._context(model.config), request)
                if isinstance(prompt, Prompt):
                    prompts.append(prompt)
                else:
                    done(prompt)
            for alike in _by_sampling(prompts):
                self._answer(model, tokenizer, alike, done)

    def _check_stop(self) -> None:
        if self.stopped():
            raise Stopped("asked to stop; committed results stay")

    def close(self) -> None:
        """Free the model; a later `run` loads it again."""
        with self._lock:
            self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                tokenizer = self._source.tokenizer()
                check_template_kwargs(self._where, tokenizer, self._kwargs)
                model = self._source.load()
                # What the model's authors sample with would fill in what our sampling leaves out.
                model.generation_config = settings(end_tokens(model, tokenizer))
                self._loaded = model, tokenizer
            return self._loaded

    def _context(self, config: Any) -> int | None:
        own, asked = positions(config), self._config.max_model_len
        if own is not None and asked is not None and asked > own:
            raise ConfigError(
                f"{self._where}: max_model_len is {asked}, and model {self._config.model!r} reads "
                f"{own} tokens at most: lower it, or leave it out"
            )
        return asked or own

    def _prompt(self, tokenizer: Any, context: int | None, request: Request) -> Prompt | Answer:
        """Tokenise a request, or say why it cannot be answered."""
        try:
            ids = prompt_ids(tokenizer, request.messages, self._kwargs)
        except TemplateError as e:
            return failed(request.key, "template", str(e), Failure.ROW)
        if not ids:
            return failed(request.key, "empty_prompt", "the prompt has no token", Failure.ROW)
        room = request.max_tokens or self._sampling.max_tokens
        if context is not None:
            room = min(room, context - len(ids))
        if room < 1:
            why = f"{len(ids)} tokens, and the context of {context} leaves none for the answer"
            return failed(request.key, "prompt_too_long", why, Failure.ROW)
        return Prompt(request.key, ids, request.seed, room, request.temperature)

    def _answer(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Prompt],
        done: Callable[[Answer], None],
    ) -> None:
        """Answer prompts of one temperature, batch by batch."""
        own = prompts[0].temperature
        sampling = self._sampling
        if own is not None:
            sampling = sampling.model_copy(update={"temperature": own})

        def compute(rows: Sequence[int]) -> list[tuple[Prompt, Decoded]]:
            batch = [prompts[row] for row in rows]
            return list(zip(batch, generate(model, tokenizer, batch, sampling), strict=True))

        for rows in by_length([len(prompt.ids) for prompt in prompts], rows=self._batch_size):
            try:
                parts = in_parts(rows, compute)
            except OutOfMemory:
                raise EngineDown(
                    f"{self._where} has no memory for one answer alone: lower max_tokens or "
                    "max_model_len, set dtype: bfloat16, or name another device"
                ) from None
            if len(parts) > 1:  # what did not fit once would not fit in the next window
                self._batch_size = -(-len(rows) // len(parts))
            for prompt, decoded in (pair for part in parts for pair in part):
                done(_answer(prompt, decoded))


def _by_sampling(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Group prompts by the temperature that their requests name."""
    groups: dict[float | None, list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault(prompt.temperature, []).append(prompt)
    return list(groups.values())


def _answer(prompt: Prompt, decoded: Decoded) -> Answer:
    text, reasoning = split_thinking(decoded.text)
    return checked(
        Answer(
            prompt.key,
            text=text,
            reasoning=reasoning,
            finish_reason=decoded.finish_reason,
            prompt_tokens=len(prompt.ids),
            completion_tokens=decoded.tokens,
        )
    )
