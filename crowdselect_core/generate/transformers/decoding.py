"""One batch of answers by transformers' `generate`.

Array names carry their shape: B rows of a batch, S positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.generate.transformers.sampling import processors, stream
from crowdselect_core.models.batching import pad
from crowdselect_core.models.chat_templates import PLAIN_STOP, has_template, padding_id

SLACK = 8  # tokens that may decode to nothing (special ones) in a stop string's place


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt in tokens, what seeds its noise, and the tokens that its answer may have."""

    key: bytes
    ids: list[int]
    seed: int | None
    room: int
    temperature: float | None = None  # of its request; None: the engine's


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of one answer; the tokens counted hold the one that ended it."""

    text: str
    finish_reason: str  # stop or length
    tokens: int


@dataclass(slots=True)
class _Row:
    prompt: Prompt
    noise: torch.Generator
    new: list[int] = field(default_factory=list)
    ended: bool = False

    @property
    def ids(self) -> list[int]:
        return [*self.prompt.ids, *self.new]

    @property
    def room(self) -> int:
        return self.prompt.room - len(self.new)


class _StopStrings(StoppingCriteria):
    """Ends a row when its text holds a stop string, so that no more tokens are spent on it.

    Only the last tokens are decoded: each but a special one is at least a byte of the text.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str], answers: Sequence[list[int]]) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._before = answers
        self._longest = max(len(stop.encode()) for stop in stops) + SLACK
        self._width: int | None = None
        self.ends: dict[int, int] = {}  # row -> tokens of this call up to its stop string

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        if self._width is None:
            self._width = input_ids.shape[1] - 1  # the first call comes after the first new token
        for b, new in enumerate(input_ids[:, self._width :].tolist()):
            if b not in self.ends and self._holds([*self._before[b], *new]):
                self.ends[b] = len(new)
        ended = [b in self.ends for b in range(input_ids.shape[0])]
        return torch.tensor(ended, device=input_ids.device)

    def _holds(self, answer: list[int]) -> bool:
        """Look in the answer's last tokens, and where they hold one, in all (spaces differ)."""
        tail = _decoded(self._tokenizer, answer[-self._longest :])
        return any(stop in tail for stop in self._stops) and (
            _cut(_decoded(self._tokenizer, answer), self._stops) is not None
        )


def stop_strings(tokenizer: Any, sampling: SamplingConfig) -> list[str]:
    """Return the stop strings: those asked for, and the next turn in the plain format."""
    plain = [] if has_template(tokenizer) else [PLAIN_STOP]
    return [stop for stop in sampling.stop if stop] + plain


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the tokens that end an answer: the model's, and the tokenizer's EOS."""
    own = model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    return sorted({int(t) for t in [*listed, tokenizer.eos_token_id] if t is not None})


@torch.inference_mode()
def generate(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], sampling: SamplingConfig
) -> list[Decoded]:
    """Answer prompts together; what each is answered does not depend on the others.

    A batch goes on until its first row has used up its room, and the rows that are left go on as
    a smaller batch: no row is ever given a position that the model does not have.
    """
    rows = [_Row(prompt, stream(prompt.seed, prompt.key)) for prompt in prompts]
    stops = stop_strings(tokenizer, sampling)
    ends = end_tokens(model, tokenizer)
    while live := [row for row in rows if not row.ended and row.room > 0]:
        _extend(model, tokenizer, live, sampling, stops, ends)
    return [_read(tokenizer, row, stops, set(ends)) for row in rows]


def _extend(
    model: Any,
    tokenizer: Any,
    rows: Sequence[_Row],
    sampling: SamplingConfig,
    stops: Sequence[str],
    ends: list[int],
) -> None:
    """Let rows grow until all have ended or one has no room left."""
    pad_id = padding_id(tokenizer)
    ids_BS, mask_BS = pad([row.ids for row in rows], pad_id, left=True)
    criteria = StoppingCriteriaList()
    if stops:
        criteria.append(_StopStrings(tokenizer, stops, [list(row.new) for row in rows]))
    out_BS = model.generate(
        input_ids=ids_BS.to(model.device),
        attention_mask=mask_BS.to(model.device),
        generation_config=settings(
            ends,
            do_sample=False,  # the noise of `processors` samples
            max_new_tokens=min(row.room for row in rows),
            pad_token_id=pad_id,
            repetition_penalty=float(sampling.repetition_penalty),
        ),
        logits_processor=processors(
            sampling, [row.noise for row in rows], [len(row.new) for row in rows]
        ),
        stopping_criteria=criteria,
    )
    stopped: dict[int, int] = criteria[0].ends if stops else {}
    for b, new in enumerate(out_BS[:, ids_BS.shape[1] :].tolist()):
        end = next((n + 1 for n, token in enumerate(new) if token in ends), None)
        lengths = [n for n in (end, stopped.get(b)) if n is not None]
        rows[b].new += new[: min(lengths)] if lengths else new
        rows[b].ended = bool(lengths)


def settings(ends: list[int], **keys: Any) -> Any:
    """Return transformers' settings with these end tokens; generate's defaults otherwise."""
    make: Any = GenerationConfig  # which has no annotations
    return make(eos_token_id=ends or None, **keys)


def _read(tokenizer: Any, row: _Row, stops: Sequence[str], ends: set[int]) -> Decoded:
    closed = bool(row.new) and row.new[-1] in ends
    text = _decoded(tokenizer, row.new[:-1] if closed else row.new)
    cut = _cut(text, stops)
    if cut is not None:
        text = text[:cut]
    if not has_template(tokenizer):
        text = text.lstrip(" ")  # 'Assistant: ...': the blank is the format's
    reason = "stop" if closed or cut is not None else "length"
    return Decoded(text, reason, len(row.new))


def _cut(text: str, stops: Sequence[str]) -> int | None:
    """Return where the first stop string begins."""
    return min((at for at in map(text.find, stops) if at >= 0), default=None)


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
