"""From a container to a table with one row per instruction: long tables and lists are turned."""

from collections.abc import Sequence

import pyarrow as pa

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.column_layout import is_long
from crowdselect_core.ingest.flat_columns import answer_words, flat_names
from crowdselect_core.ingest.joined_tables import JoinedTables
from crowdselect_core.ingest.list_zoo import ListZoo, find_lists
from crowdselect_core.ingest.long_scores import pivot, widened
from crowdselect_core.ingest.long_texts import LongZoo, text_column
from crowdselect_core.ingest.prompt_columns import find_prompt
from crowdselect_core.ingest.reader import Reader


def table_of(
    reader: Reader, config: DatasetConfig, everyone: Sequence[CrowdModel], rewards: Sequence[str]
) -> Reader:
    """Return a reader with one row per instruction: the container's own, or one that turns it.

    Raises:
        DatasetError: a long table is asked for, and this is none.
    """
    schema = reader.schema()
    if config.format == "scores-long" and not is_long(schema):
        raise DatasetError(
            f"{config.path}: a long table needs the columns model and score"
            f"{nearest('model', schema.names)}; found {shown(schema.names)}"
        )
    found = config.format == "auto" and _is_long(reader, config, everyone)
    if found or config.format == "scores-long":
        return _turned(reader, config, rewards)
    lists = find_lists(schema) if everyone and config.format in ("auto", "generator-zoo") else None
    if lists and not any(_may_hold_answers(schema, config, m.name) for m in everyone):
        return ListZoo(reader, config, lists, rewards)
    return reader


def _is_long(reader: Reader, config: DatasetConfig, everyone: Sequence[CrowdModel]) -> bool:
    """Tell a long table from instructions, or a zoo, that happen to have those two columns."""
    schema = reader.schema()
    if not is_long(schema):
        return False
    if any(_may_hold_answers(schema, config, m.name) for m in everyone):
        return False
    return bool(everyone) or find_prompt(schema, config) is None


def _may_hold_answers(schema: pa.Schema, config: DatasetConfig, model: str) -> bool:
    words = answer_words(config.columns)
    return model in schema.names or bool(flat_names(schema.names, model, words))


def _turned(reader: Reader, config: DatasetConfig, rewards: Sequence[str]) -> Reader:
    schema = reader.schema()
    scores = reader.scores if isinstance(reader, JoinedTables) else reader
    text = text_column(schema, config)
    if text is None:
        return pivot(scores, config, rewards)
    wide = widened(scores, config, rewards, first_samples=True)
    layout = config.model_copy(update={"format": "auto"})
    prompt = find_prompt(schema, layout)
    columns = [c for c in (prompt.identity.values() if prompt else ()) if c != text]
    texts = reader.responses if isinstance(reader, JoinedTables) else reader
    return LongZoo(texts, wide, text, columns, reader.fingerprint())
