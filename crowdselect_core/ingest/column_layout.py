"""What the columns of a data set mean: the id, the instruction, the answers and their scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from crowdselect_core.config.crowd import PAPER_EXPECTED, CrowdModel, is_paper
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import CrowdError, DatasetError, nearest, shown
from crowdselect_core.ingest.columns import expect, is_number, is_text, named, told
from crowdselect_core.ingest.flat_columns import (
    SCORE,
    answer_words,
    find_flat,
    flat_names,
    is_flat,
)
from crowdselect_core.ingest.prompt_columns import (
    INSTRUCTION_NAMES,
    Peek,
    PromptColumns,
    find_prompt,
    no_values,
)
from crowdselect_core.ingest.reader import Leaf
from crowdselect_core.tables import shown_field

ID_NAMES = ("instruction_id", "uuid", "id")


@dataclass(frozen=True)
class ColumnLayout:
    """Where in the data set things are. An empty `answers` means scores alone."""

    instruction_id: Leaf | None
    prompt: PromptColumns | None
    scores: Mapping[tuple[str, str], Leaf]  # (reward model, crowd model) -> numbers
    answers: Mapping[str, Leaf]  # crowd model -> text
    finish_reasons: Mapping[str, Leaf]  # crowd model -> why generation ended, where it is known
    shown: Mapping[tuple[str, str], Leaf]  # as scores, of the one sample whose answer is there

    @property
    def instruction(self) -> Leaf | None:
        """The column that the instructions' texts are found in, None where there are none."""
        return (self.prompt.text or self.prompt.turns) if self.prompt else None


def is_long(schema: pa.Schema) -> bool:
    """Tell a long table of scores, one row per (instruction, model)."""
    return {"model", "score"} <= set(schema.names)


def find_layout(
    schema: pa.Schema,
    config: DatasetConfig,
    crowd: Sequence[CrowdModel],
    reward_models: Sequence[str],
    peek: Peek = no_values,
) -> ColumnLayout:
    """Find the columns of a zoo or of a wide table of scores, and check their types.

    Raises:
        DatasetError: no id and no instruction, a named column that is not there or of a wrong type,
            a reward model that no crowd model has.
        CrowdError: a crowd model without a column.
    """
    id_leaf = named(schema, config, "instruction_id", ID_NAMES)
    prompt = find_prompt(schema, config, peek)
    where = config.path
    if id_leaf is None and prompt is None:
        raise DatasetError(
            f"{where}: has neither an id column ({shown(ID_NAMES)}) nor an instruction column "
            f"({shown(INSTRUCTION_NAMES)}); found {shown(schema.names)}; name yours under "
            "dataset.columns, e.g. {instruction_id: my_id}"
        )
    expect(schema, id_leaf, where, "text or whole numbers", pa.types.is_integer, is_text)
    taken = {id_leaf.column} if id_leaf else set()
    taken.update(prompt.identity.values() if prompt else ())
    columns = [n for n in schema.names if n not in taken]
    names, words = [m.name for m in crowd], answer_words(config.columns)
    if config.format == "flat" or (
        config.format not in ("generator-zoo", "scores-wide")
        and is_flat(columns, names, words, reward_models)
    ):
        return _flat(schema, columns, config, crowd, reward_models, id_leaf, prompt)
    _check_models(schema, columns, crowd, where, config.format)
    if not crowd:  # everything is yet to be answered
        return ColumnLayout(id_leaf, prompt, {}, {}, {}, {})
    first = schema.field(crowd[0].name).type
    if pa.types.is_struct(first):
        return _zoo(schema, config, crowd, reward_models, id_leaf, prompt)
    return _wide(schema, config, crowd, reward_models, id_leaf, prompt)


def _zoo(
    schema: pa.Schema,
    config: DatasetConfig,
    crowd: Sequence[CrowdModel],
    reward_models: Sequence[str],
    id_leaf: Leaf | None,
    prompt: PromptColumns | None,
) -> ColumnLayout:
    content = config.columns.get("content", "content")
    fields = {m.name: _fields(schema, m.name) for m in crowd}
    scores: dict[tuple[str, str], Leaf] = {}
    for reward_model in reward_models:
        having = [m for m, names in fields.items() if reward_model in names]
        if not having:
            known = sorted({f for names in fields.values() for f in names} - {content})
            raise DatasetError(
                f"{config.path}: no crowd model has scores of the reward model {reward_model!r}"
                f"{nearest(reward_model, known)} (found: {shown(known)})"
            )
        for model in having:
            scores[reward_model, model] = Leaf(model, reward_model)
    single = {(r, m): Leaf(m, shown_field(r)) for r, m in scores if shown_field(r) in fields[m]}
    _expect_kinds(schema, config.path, [*scores.values(), *single.values()], [])
    answers = {m: Leaf(m, content) for m, names in fields.items() if content in names}
    if "content" in config.columns and not answers:
        known = sorted({f for names in fields.values() for f in names})
        raise DatasetError(
            f"{config.path}: dataset.columns.content names {content!r}, which no crowd model has"
            f"{nearest(content, known)} (found: {shown(known)})"
        )
    ends = {m: Leaf(m, "finish_reason") for m, names in fields.items() if "finish_reason" in names}
    _expect_kinds(schema, config.path, [], [*answers.values(), *ends.values()])
    return ColumnLayout(id_leaf, prompt, scores, answers, ends, single)


def _flat(
    schema: pa.Schema,
    columns: Sequence[str],
    config: DatasetConfig,
    crowd: Sequence[CrowdModel],
    reward_models: Sequence[str],
    id_leaf: Leaf | None,
    prompt: PromptColumns | None,
) -> ColumnLayout:
    where, words, names = config.path, answer_words(config.columns), [m.name for m in crowd]
    wanted = [*words, SCORE, *reward_models]
    missing = [n for n in names if not flat_names(columns, n, wanted) and n not in columns]
    _refuse_missing(schema, missing, columns, crowd, where)
    found = find_flat(schema, columns, names, words, reward_models, where)
    if "content" in config.columns and not found.answers:
        raise DatasetError(
            f"{where}: dataset.columns.content names {words[0]!r}, with which no column of a crowd "
            f"model ends (found: {shown(columns)})"
        )
    scores = {pair: Leaf(name) for pair, name in found.scores.items()}
    answers = {m: Leaf(name) for m, name in found.answers.items()}
    ends = {m: Leaf(name) for m, name in found.ends.items()}
    _expect_kinds(schema, where, list(scores.values()), [*answers.values(), *ends.values()])
    return ColumnLayout(id_leaf, prompt, scores, answers, ends, {})


def _expect_kinds(
    schema: pa.Schema, where: str, numbers: Sequence[Leaf], texts: Sequence[Leaf]
) -> None:
    """Refuse columns of scores that are no numbers, and of answers that are no texts."""
    for leaf in numbers:
        expect(schema, leaf, where, "numbers", is_number)
    for leaf in texts:
        expect(schema, leaf, where, "text", is_text)


def _wide(
    schema: pa.Schema,
    config: DatasetConfig,
    crowd: Sequence[CrowdModel],
    reward_models: Sequence[str],
    id_leaf: Leaf | None,
    prompt: PromptColumns | None,
) -> ColumnLayout:
    if len(reward_models) > 1:
        raise DatasetError(
            f"{config.path}: a wide table has one number per crowd model, so it holds one reward "
            f"model, but {len(reward_models)} are named ({shown(reward_models)}); name one, or use "
            "the long form (instruction_id, model, reward_model, score)"
        )
    if named_twice := [r for r in reward_models if r in {m.name for m in crowd}]:
        raise DatasetError(
            f"{config.path}: the reward model {named_twice[0]!r} has the name of a crowd model, "
            "whose column holds its scores; name what gave the scores, such as score"
        )
    scores = {(r, m.name): Leaf(m.name) for r in reward_models for m in crowd}
    for leaf in scores.values():
        expect(schema, leaf, config.path, "numbers", is_number)
    return ColumnLayout(id_leaf, prompt, scores, {}, {}, {})


def _refuse_missing(
    schema: pa.Schema,
    missing: Sequence[str],
    columns: Sequence[str],
    crowd: Sequence[CrowdModel],
    where: str,
) -> None:
    """Refuse crowd models that have no column."""
    if not missing:
        return
    spare = [c for c in columns if c not in {m.name for m in crowd}]
    most, begin = (3, PAPER_EXPECTED) if is_paper(crowd) else (40, "")
    if len(missing) == len(crowd) and all(is_text(schema.field(name).type) for name in spare):
        raise CrowdError(
            f"{begin}{where}: has no answers or scores of the crowd models ({shown(missing, most)})"
            "; give each an engine, which generates its answers (docs/live.md), or name a data set "
            "that has answers"
        )
    raise CrowdError(
        f"{begin}{where}: {len(missing)} of {len(crowd)} crowd models have no column: "
        f"{shown(missing, most)}{nearest(missing[0], spare)}; columns that no crowd model has: "
        f"{shown(spare) or 'none'}; correct the crowd file or pass another --crowd"
    )


def _check_models(
    schema: pa.Schema,
    columns: Sequence[str],
    crowd: Sequence[CrowdModel],
    where: str,
    wanted: str,
) -> None:
    _refuse_missing(schema, [m.name for m in crowd if m.name not in columns], columns, crowd, where)
    structs = [m.name for m in crowd if pa.types.is_struct(schema.field(m.name).type)]
    if structs and len(structs) < len(crowd):
        other = next(m.name for m in crowd if m.name not in structs)
        raise DatasetError(
            f"{where}: column {other!r} {told(schema.field(other))}, expected a struct with "
            "'content' and scores, as the other crowd models have"
        )
    if wanted == "generator-zoo" and not structs:
        raise DatasetError(
            f"{where}: its crowd columns are no structs, so it is no generator-zoo; leave --format "
            "out or pass scores-wide"
        )
    if wanted == "scores-wide" and structs:
        raise DatasetError(
            f"{where}: its crowd columns are structs, expected numbers; pass generator-zoo"
        )


def has_answers(schema: pa.Schema, model: str, columns: Mapping[str, str]) -> bool:
    """Tell whether a model has a column of answers.

    It is a struct with texts in the field `content`, or a flat column of texts.

    Args:
        schema: the table's.
        model: the crowd model.
        columns: those that the config names.
    """
    if model not in schema.names:
        flat = flat_names(schema.names, model, answer_words(columns))
        return any(is_text(schema.field(name).type) for name in flat)
    kind = schema.field(model).type
    if not pa.types.is_struct(kind):
        return False
    content = columns.get("content", "content")
    return content in _fields(schema, model) and is_text(kind.field(content).type)


def _fields(schema: pa.Schema, column: str) -> list[str]:
    kind = schema.field(column).type
    return [kind.field(i).name for i in range(kind.num_fields)]
