"""Stage `selection`: the chosen rows with the answer that is kept of each."""

from typing import Any

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.models.token_count import counter, counter_identity
from crowdselect_core.selection.candidates import choose_rows
from crowdselect_core.selection.quota import select_by_tokens
from crowdselect_core.selection.response_choice import Ints
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.candidate_rows import CandidateRows
from crowdselect_core.stages.select.kept_answers import (
    AnswerReader,
    Answers,
    answer_reader,
    kept,
    messages,
)
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single
from crowdselect_core.tables import METRIC_NAMES, check
from crowdselect_core.tables import SELECTION as TABLE

STAGE, VERSION = "selection", 2

COLUMNS = ["instruction_id", "cluster_id", "score", *METRIC_NAMES]


def spec(
    config: SelectConfig, scores: Ref, metrics: Ref, ranking: Ref, clusters: Ref | None
) -> Spec:
    """Name the artifact: ranking and clusters, the budget and its quota, the kept answer."""
    mode = mode_of(config)
    identity: dict[str, Any] = {
        "quota": config.quota,
        "allow_short": config.allow_short,
        "response": {"kind": mode.kind, "models": list(mode.models)},
    }
    if config.budget_tokens is not None:
        identity["budget_tokens"] = config.budget_tokens
        identity["tokenizer"] = counter_identity(config.tokenizer, "tokenizer")
        if config.budget_tokens_of != "row":
            identity["budget_tokens_of"] = config.budget_tokens_of
    else:
        identity["budget"] = config.budget
    if mode.kind.startswith("random"):
        identity["seed"] = config.seed
    inputs = {"ranking": ranking.key} | ({"clusters": clusters.key} if clusters else {})
    return Spec(STAGE, VERSION, identity, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    scores: Ref,
    metrics: Ref,
    ranking: Ref,
    clusters: Ref | None,
) -> Plan:
    """Fill the quotas by rank, then read the kept answers of the chosen rows.

    Output columns: SELECTION, best row first; response and messages are null for scores alone.

    Raises:
        SelectionError: fewer rows are eligible than the budget asks for.
    """

    def make() -> ShardResult:
        answers = answer_reader(config, store, scores, metrics)
        notes: list[str] = []
        if config.budget_tokens is not None:
            table = ranking.open(store).frame()
            columns = ["instruction_id", "cluster_id"]
            groups = clusters.open(store).frame(columns) if clusters else None
            tokens = row_tokens(config, answers, table)
            rows_B = None
            chosen = select_by_tokens(table, groups, tokens, config.budget_tokens, config.quota)
        else:
            rows = CandidateRows(ranking.open(store), clusters.open(store) if clusters else None)
            how = (config.quota, config.allow_short, notes.append)
            rows_B = choose_rows(rows.candidates(), config.budget, *how)
            chosen = rows.rows(rows_B, COLUMNS)
        return ShardResult(_with_answers(config, answers, chosen, rows_B), notes=notes)

    return single(make)


SELECTION = Stage("selection", "Fill the quotas by rank and read the kept answers.", spec, plan)


def method_label(config: SelectConfig) -> str:
    """Name the method as the selection table and the report do."""
    return config.method if config.direction == "top" else f"{config.method}-bottom"


def _with_answers(
    config: SelectConfig, reader: AnswerReader, chosen: pl.DataFrame, rows_B: Ints | None
) -> pl.DataFrame:
    answers = reader.of(chosen["instruction_id"], rows_B)
    kept_N, texts = _kept(config, answers)
    models = answers.models
    frame = chosen.select(COLUMNS).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("rank"),
        pl.lit(method_label(config)).alias("method"),
        pl.Series("response_model", [models[m] if m >= 0 else None for m in kept_N.tolist()]),
        pl.Series("response", texts, dtype=pl.String),
        pl.Series(
            "messages",
            [messages(p, t) for p, t in zip(answers.prompts(), texts, strict=True)],
            dtype=TABLE["messages"],
        ),
    )
    return check(frame.select(list(TABLE)), TABLE, "selection")


def _kept(config: SelectConfig, answers: Answers) -> tuple[Ints, list[str | None]]:
    """Return the kept model of each row and its text; every row has one."""
    kept_N, texts = kept(config, answers)
    check_kept(kept_N)
    return kept_N, texts


def check_kept(kept_N: Ints) -> None:
    """Refuse chosen rows of which no answer is kept: they were eligible by one.

    Raises:
        DatasetError: there are some.
    """
    if (kept_N < 0).any():
        raise DatasetError(
            f"{int((kept_N < 0).sum())} chosen rows have no complete answer; the data set has "
            "changed while it was read: run again"
        )


def row_tokens(config: SelectConfig, reader: AnswerReader, ranking: pl.DataFrame) -> pl.DataFrame:
    """Count the tokens of every eligible row: of its instruction and kept answer, or of that."""
    count = counter(config.tokenizer)
    ids = ranking.filter("eligible")["instruction_id"]
    frames = []
    for answers in reader.by_shard(ids):
        _, texts = _kept(config, answers)
        counted = [t or "" for t in texts]
        if config.budget_tokens_of == "row":
            prompts = answers.instructions()
            counted = [f"{i or ''}{t}" for i, t in zip(prompts, counted, strict=True)]
        frames.append(pl.DataFrame({"instruction_id": answers.ids, "tokens": count(counted)}))
    return pl.concat(frames)
