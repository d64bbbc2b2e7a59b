"""Stage `pairs`: preference pairs of the chosen rows, for DPO, SimPO and ORPO.

A prompt of several turns, or with a system message, is told whole in `messages`: where a file has
one, every pair has that column, and `prompt` is the user turns joined by blank lines.

Chosen is a row's best complete answer by score among those that may be kept, rejected its worst
one (or that of a named rank); a model with several samples takes part with its best one. A row
whose margin is not above 0, or below the least one, gives no pair; how many is counted.
"""

from typing import Any

import numpy as np
import polars as pl

from crowdselect_core.config.response_mode import ResponseMode
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.selection.response_choice import Ints, first_complete, preference
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.kept_answers import answer_reader
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single

STAGE, VERSION = "pairs", 1

SCHEMA = {
    "instruction_id": pl.String,
    "prompt": pl.String,
    "chosen": pl.String,
    "rejected": pl.String,
    "chosen_model": pl.String,
    "rejected_model": pl.String,
    "margin": pl.Float64,  # difference of the two scores, > 0
}

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def spec(config: SelectConfig, scores: Ref, metrics: Ref, selection: Ref) -> Spec:
    """Name the artifact: the selection, and which answer is rejected."""
    identity = {
        "rejected": config.pairs.rejected,
        "min_margin": config.pairs.min_margin,
        "models": list(mode_of(config).models),
    }
    return Spec(STAGE, VERSION, identity, {"selection": selection.key})


def plan(config: SelectConfig, store: Store, scores: Ref, metrics: Ref, selection: Ref) -> Plan:
    """Read the two answers of every chosen row.

    Output columns: SCHEMA, in rank order; messages where a prompt is more than one turn.
    Counts: without_pair.
    """
    return single(lambda: _pairs(config, store, scores, metrics, selection))


PAIRS = Stage("pairs", "Make preference pairs of the chosen rows.", spec, plan)


def _pairs(
    config: SelectConfig, store: Store, scores: Ref, metrics: Ref, selection: Ref
) -> ShardResult:
    ids = selection.open(store).frame(["instruction_id"])["instruction_id"]
    answers = answer_reader(config, store, scores, metrics).of(ids)
    if not answers.dataset.layout.answers or answers.dataset.layout.instruction is None:
        raise DatasetError(
            f"{config.dataset.path}: has no answers with instructions, so there are no preference "
            "pairs; leave --export pairs out, or train with loss: sft"
        )
    texts: dict[tuple[int, int], str | None] = {}

    def read(asked: Any) -> dict[tuple[int, int], str | None]:
        found = answers.complete(asked)
        texts.update(found)
        return found

    by_score = ResponseMode("best", mode_of(config).models)
    order_NM = preference(by_score, answers.shown_NM, answers.models, answers.ids, config.seed)
    best_N = first_complete(order_NM, read, 1)[:, 0]
    rank = config.pairs.rejected
    if rank == "worst":
        rejected_N = first_complete(_worst_first(order_NM), read, 1)[:, 0]
    else:
        rejected_N = first_complete(order_NM, read, rank)[:, -1]
    rows, prompts = [], []
    for place, prompt in enumerate(answers.prompts()):
        best, worst = int(best_N[place]), int(rejected_N[place])
        if best < 0 or worst < 0 or best == worst or prompt is None or prompt.error:
            continue
        margin = float(answers.shown_NM[place, best] - answers.shown_NM[place, worst])
        chosen, rejected = texts[place, best], texts[place, worst]
        if margin > 0 and margin >= config.pairs.min_margin and chosen != rejected:
            names = (answers.models[best], answers.models[worst])
            prompts.append(prompt)
            rows.append((ids[place], prompt.text, chosen, rejected, *names, margin))
    frame = pl.DataFrame(rows, SCHEMA, orient="row")
    if not all(p.is_plain for p in prompts):
        told = pl.Series("messages", [list(p.messages) for p in prompts], dtype=MESSAGES)
        frame = frame.with_columns(told)
    return ShardResult(frame, {"without_pair": len(ids) - frame.height})


def _worst_first(order_NM: Ints) -> Ints:
    """Turn each row's candidates round, the -1 past them still last."""
    turned = np.full_like(order_NM, -1)
    for row, order in enumerate(order_NM):
        candidates = order[order >= 0][::-1]
        turned[row, : len(candidates)] = candidates
    return turned
