"""The position-weighted mean of a causal language model's last hidden states, of one row.

Source: RDS+ (Ivison et al., arXiv 2503.01807), after SGPT (arXiv 2202.08904).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from crowdselect_core.annotate.base import Annotation, Row
from crowdselect_core.annotate.local_model import LocalAnnotator
from crowdselect_core.annotate.targets import read_targets
from crowdselect_core.config.method_models import RdsConfig
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.generate.base import Failure
from crowdselect_core.models.batching import by_length, pad
from crowdselect_core.models.causal_lm import in_parts
from crowdselect_core.models.chat_templates import TemplateError, padding_id, pair_ids, prompt_ids
from crowdselect_core.models.logprobs import context


class HiddenStateAnnotator(LocalAnnotator):
    """One vector a row: of its prompt and its answer under the chat template.

        vector = sum over positions i = 1..n of i * h_i / (1 + 2 + ... + n), scaled to length 1

    h_i is the last hidden state (after the final norm) of token i, of the first `max_length` ones.

    Cell: vector.
    """

    def __init__(self, config: RdsConfig) -> None:
        """Keep the config; the model is loaded by the first `run`."""
        super().__init__("rds", config)
        self._config = config

    def check(self) -> None:
        """Check the model, and that its chat template takes every target.

        Raises:
            ConfigError: one of the two does not fit.
        """
        super().check()
        if self._config.targets is None:
            return
        tokenizer = self._source.tokenizer()
        for number, target in enumerate(read_targets(self._config.targets), 1):
            try:
                _ids(tokenizer, Row(target.key, target.messages, "", target.response))
            except TemplateError as e:
                raise ConfigError(
                    f"rds.targets {self._config.targets!r}, example {number}: the chat template of "
                    f"{self._config.model} does not take it ({first_line(e)}): correct or remove it"
                ) from None

    def _window(self, window: Sequence[Row]) -> Iterator[Annotation]:
        model, tokenizer = self._loaded()
        most = context(model, self._config.max_length)
        texts: list[tuple[Row, list[int]]] = []
        for row in window:
            try:
                ids = _ids(tokenizer, row)[:most]
            except TemplateError as e:
                yield Annotation(row.key, error=f"template: {e}"[:500], failure=Failure.ROW)
                continue
            texts.append((row, ids))
        ids_of = [ids for _, ids in texts]
        vectors = mean_states(model, ids_of, padding_id(tokenizer), self._config.batch_tokens)
        for (row, _), vector in zip(texts, vectors, strict=True):
            if vector is None:
                why = "not_finite: its hidden states are not finite; set dtype: float32"
                yield Annotation(row.key, error=why, failure=Failure.ROW)
            else:
                yield Annotation(row.key, (vector,))


def _ids(tokenizer: Any, row: Row) -> list[int]:
    if row.response:
        return pair_ids(tokenizer, row.messages, row.response)
    return prompt_ids(tokenizer, row.messages, {})


def mean_states(
    model: Any, texts: Sequence[Sequence[int]], pad_id: int, batch_tokens: int
) -> list[list[float] | None]:
    """Return the weighted mean of each text's last hidden states, scaled to length 1.

    None where it is not finite or has length 0. How rows are batched changes float noise only.
    """
    found: dict[int, list[float] | None] = {}
    for batch in by_length([len(ids) for ids in texts], tokens=batch_tokens):

        def compute(rows: Sequence[int]) -> dict[int, list[float] | None]:
            vectors = _batch(model, [texts[i] for i in rows], pad_id)
            return dict(zip(rows, vectors, strict=True))

        for part in in_parts(batch, compute):
            found.update(part)
    return [found[i] for i in range(len(texts))]


@torch.inference_mode()
def _batch(model: Any, texts: Sequence[Sequence[int]], pad_id: int) -> list[list[float] | None]:
    ids_BS, mask_BS = pad(texts, pad_id, left=False)
    ids_BS, mask_BS = ids_BS.to(model.device), mask_BS.to(model.device)
    told = model.base_model(input_ids=ids_BS, attention_mask=mask_BS, use_cache=False)
    weights_BS = mask_BS.cumsum(dim=1) * mask_BS
    weights_BS = weights_BS / weights_BS.sum(dim=1, keepdim=True)
    means_BD = (told.last_hidden_state.float() * weights_BS.unsqueeze(-1)).sum(dim=1)
    unit_BD = means_BD / means_BD.norm(dim=1, keepdim=True)
    usable_B = torch.isfinite(unit_BD).all(dim=1).tolist()
    return [v if ok else None for v, ok in zip(unit_BD.tolist(), usable_B, strict=True)]
