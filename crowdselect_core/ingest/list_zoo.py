"""Zoos whose answers stand in lists, read as one struct column per crowd model.

UltraFeedback: `completions`, a list of {model, response, overall_score, annotations: {aspect:
{Rating}}}. distilabel: `generations`, `ratings` and the models' names, three lists of one length.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError, shown
from crowdselect_core.ingest.json_columns import kinds_of
from crowdselect_core.ingest.prompt_columns import listed
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, Reader

COMPLETIONS = "completions"
GENERATIONS, RATINGS = "generations", "ratings"
MODEL_NAMES = ("generation_models", "model_names", "generation_model", "models", "model_name")
TEXTS = ("response", "completion", "content", "text")
OVERALL = ("overall_score", "rating", "score", "fine-grained_score")  # the first one stands
CONTENT = "content"
_BLOCK = 1024

_MODELS: dict[str, list[str]] = {}  # by the fingerprint of a data set

Answers = Mapping[str, Mapping[str, Any]]  # by model: content, and a number by reward model


@dataclass(frozen=True)
class ListColumns:
    """The columns that hold the lists."""

    completions: str | None = None
    generations: str | None = None
    ratings: str | None = None
    models: str | None = None

    @property
    def leaves(self) -> list[Leaf]:
        """The columns that are read."""
        return [Leaf(name) for name in vars(self).values() if name is not None]


def find_lists(schema: pa.Schema) -> ListColumns | None:
    """Find the lists of a data set, None where it has none."""
    if COMPLETIONS in schema.names and _is_list(schema.field(COMPLETIONS)):
        return ListColumns(completions=COMPLETIONS)
    models = next((n for n in MODEL_NAMES if n in schema.names and _is_list(schema.field(n))), None)
    if models and GENERATIONS in schema.names and _is_list(schema.field(GENERATIONS)):
        ratings = RATINGS if RATINGS in schema.names else None
        return ListColumns(generations=GENERATIONS, ratings=ratings, models=models)
    return None


def _is_list(field: pa.Field) -> bool:
    kind, types = field.type, pa.types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists or kinds_of(field) & {"list", "tuple"})


class ListZoo:
    """A reader of such a data set with one struct per model: content, and a number per reward."""

    def __init__(
        self, reader: Reader, config: DatasetConfig, columns: ListColumns, rewards: Sequence[str]
    ) -> None:
        self._reader, self._config, self._columns = reader, config, columns
        self._rewards = list(rewards)
        self._models = self._find_models()

    def fingerprint(self) -> str:
        return self._reader.fingerprint()

    def digests(self) -> list[str]:
        return self._reader.digests()

    def source(self, file: int) -> str:
        return self._reader.source(file)

    def place(self, row: int) -> str:
        return self._reader.place(row)

    def schema(self) -> pa.Schema:
        scores = [pa.field(reward, pa.float64()) for reward in self._rewards]
        struct = pa.struct([pa.field(CONTENT, pa.string()), *scores])
        own = [f for f in self._reader.schema() if Leaf(f.name) not in self._columns.leaves]
        return pa.schema([*own, *(pa.field(model, struct) for model in self._models)])

    def partitions(self, rows: int) -> list[Partition]:
        return self._reader.partitions(rows)

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        ours = [leaf for leaf in leaves if leaf.column in self._models]
        own = [leaf for leaf in leaves if leaf not in ours]
        needed = list(dict.fromkeys([*own, *(self._columns.leaves if ours else [])]))
        for batch in self._reader.read(partition, needed):
            arrays = {leaf: batch.arrays[leaf] for leaf in own}
            if ours:
                rows = list(self._answers(batch))
                arrays |= {leaf: self._array(rows, leaf) for leaf in ours}
            yield Batch(batch.first_row, batch.rows, arrays)

    def _array(self, rows: Sequence[Answers], leaf: Leaf) -> pa.Array:
        answers = [row.get(leaf.column) for row in rows]
        if leaf.field is None:
            return pa.array(answers, type=self.schema().field(leaf.column).type)
        kind = pa.string() if leaf.field == CONTENT else pa.float64()
        return pa.array([a.get(leaf.field) if a else None for a in answers], type=kind)

    def _find_models(self) -> list[str]:
        """Read the names of the models, once in a process."""
        key = self._reader.fingerprint()
        if key not in _MODELS:
            _MODELS[key] = self._read_models()
        return _MODELS[key]

    def _read_models(self) -> list[str]:
        models: dict[str, None] = {}
        for part in self._reader.partitions(_BLOCK):
            for batch in self._reader.read(part, self._columns.leaves):
                for row in self._answers(batch):
                    models.update(dict.fromkeys(row))
        return list(models)

    def _answers(self, batch: Batch) -> Iterator[Answers]:
        lists = zip(*(listed(batch.arrays[leaf]) for leaf in self._columns.leaves), strict=True)
        for place, values in enumerate(lists):
            row = dict(zip((leaf.column for leaf in self._columns.leaves), values, strict=True))
            found: dict[str, Mapping[str, Any]] = {}
            for model, answer in self._pairs(row, batch.first_row + place):
                if model in found:
                    raise DatasetError(
                        f"{self._reader.place(batch.first_row + place)}: has two answers of the "
                        f"model {shown([model])}; keep one"
                    )
                found[model] = answer
            yield found

    def _pairs(
        self, row: Mapping[str, Any], number: int
    ) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the model and its answer of every entry of a row's lists."""
        if self._columns.completions:
            for entry in _entries(row[self._columns.completions]):
                if isinstance(entry, dict) and isinstance(entry.get("model"), str):
                    yield entry["model"], self._completion(entry)
            return
        names = _entries(row[self._columns.models or ""])
        texts = _entries(row[self._columns.generations or ""])
        ratings = _entries(row.get(self._columns.ratings or "")) or [None] * len(texts)
        if not len(names) == len(texts) == len(ratings):
            raise DatasetError(
                f"{self._reader.place(number)}: has {len(names)} models, {len(texts)} generations "
                f"and {len(ratings)} ratings; expected lists of one length"
            )
        for name, text, rating in zip(names, texts, ratings, strict=True):
            if isinstance(name, str):
                scores = {reward: _number(rating) for reward in self._rewards}
                yield name, {CONTENT: _text(text)} | scores

    def _completion(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        text = next((entry[n] for n in TEXTS if isinstance(entry.get(n), str)), None)
        return {CONTENT: text} | {reward: self._score(entry, reward) for reward in self._rewards}

    def _score(self, entry: Mapping[str, Any], reward: str) -> float | None:
        """Return a score: the field of that name, an aspect's rating, or the overall one."""
        if reward in entry:
            return _number(entry[reward])
        notes = entry.get("annotations")
        if isinstance(notes, dict) and reward in notes:
            aspect = notes[reward]
            return _number(aspect.get("Rating") if isinstance(aspect, dict) else aspect)
        if len(self._rewards) > 1:
            return None
        return next((_number(entry[name]) for name in OVERALL if name in entry), None)


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """Return a rating as a number; UltraFeedback writes some as text, and N/A for none."""
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None
