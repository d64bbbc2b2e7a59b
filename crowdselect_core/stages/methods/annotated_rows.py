"""The rows that a method's model says something of, with the keys of what it says."""

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from functools import cached_property

import numpy as np
import polars as pl

from crowdselect_core.annotate.base import Row
from crowdselect_core.annotate.factory import cache_spec, kind_of
from crowdselect_core.annotate.targets import Target
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.ingest.prompts import prompt_key
from crowdselect_core.stages.methods.kept_rows import KeptRowReader, KeptRows
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.listed import listed_rows
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import Keys, as_keys, cell_key
from crowdselect_core.store.cache.work_sharing import Alone, Sharing

READ = 10_000  # annotations that are read at a time


def cells_of(config: SelectConfig, store: Store, model: Ref | None = None) -> CallCache:
    """Return the annotations by the config's method, and the model trained first, in a store."""
    columns = {**kind_of(config).cell, "error": pl.String}
    return CallCache(store, cache_spec(config, model.key if model else None), columns)


class AnnotatedRows:
    """The rows of a method with the keys of their annotations."""

    def __init__(
        self,
        config: SelectConfig,
        store: Store,
        scores: Ref,
        metrics: Ref,
        answers: Ref,
        model: Ref | None = None,
    ) -> None:
        self.config, self.kind = config, kind_of(config)
        self.width = len(self.kind.cell)
        self._targets = self.kind.targets(config)
        self.cells = cells_of(config, store, model)
        self._scores = scores.open(store)
        self._indices = range(len(self._scores.manifest.shards))
        ids = listed_rows(config)
        self._reader = KeptRowReader(config, store, scores, metrics, answers, ids)

    def of_shard(self, index: int) -> "AnnotatedRows":
        """Return the rows of one shard of the scores; the targets belong to the first one."""
        own = copy(self)
        own.__dict__.pop("_keys", None)  # those of all shards, where they are known
        own._indices = range(index, index + 1)
        own._targets = self._targets if index == 0 else ()
        return own

    def count(self) -> tuple[int, int]:
        """Count the rows that lack an annotation, and those that have one."""
        self.cells.refresh()
        wanted = int(self.cells.missing(self._keys).sum())
        return wanted, len(self._keys) - wanted

    def errors(self) -> pl.Series:
        """Return the error of every row that has an annotation, null where it has none."""
        self.cells.refresh()
        starts = range(0, len(self._keys), READ)
        parts = [self.cells.read(self._keys[at : at + READ])["error"] for at in starts]
        return pl.concat([pl.Series("error", [], pl.String), *parts])

    @cached_property
    def _keys(self) -> Keys:
        """The keys of all rows and targets, each once."""
        keys = [k for _, _, found in self._shards() for k in found if k is not None]
        keys += [target.key for target in self._targets]
        return np.unique(as_keys(keys))

    def missing(self, sharing: Sharing, seconds: Callable[[], float]) -> Iterator[Row]:
        """Yield the rows without an annotation, each once; other processes have their share."""
        asked: set[bytes] = set()

        def lacking() -> bool:
            self.cells.refresh()
            left = (k for _, _, keys in self._shards() for k in self._left(keys))
            others = self._left([target.key for target in self._targets])
            return any(key not in asked for key in (*others, *left))

        for mine in sharing.rounds(lacking, seconds):
            for target in self._targets:
                if target.key not in asked and mine(target.key) and self._left([target.key]):
                    asked.add(target.key)
                    yield _target_row(target)
            for index, found, keys in self._shards():
                self.cells.refresh()
                left = {key for key in self._left(keys) if key not in asked and mine(key)}
                for place, key in enumerate(keys):
                    if key in left and key not in asked:
                        asked.add(key)
                        yield _row(key, found, place, index)

    def unannotated(self) -> Iterator[Row]:
        """Yield the rows and targets without an annotation, each once, as they are now."""
        self.cells.refresh()
        yield from self.missing(Alone(), lambda: 0.0)

    def table(self, frame: pl.DataFrame, failed: Mapping[bytes, str]) -> pl.DataFrame:
        """Return what the method reads of the rows of a shard."""
        found, keys = self._keyed(frame)
        rows = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Binary)})
        cells = self.cells.read(as_keys(k for k in keys if k is not None))
        table = rows.join(cells, on="key", how="left", maintain_order="left")
        extra = pl.DataFrame({"key": pl.Series([t.key for t in self._targets], dtype=pl.Binary)})
        told = self.cells.read(as_keys(t.key for t in self._targets))
        extra = extra.join(told, on="key", how="left", maintain_order="left").drop("key")
        known = set(cells["key"].to_list()) | failed.keys() | {None}
        if gone := sum(key not in known for key in keys):
            raise DamagedArtifact(
                f"{self.cells.spec.folder}: {gone} annotations vanished while they were read"
            )
        lost = pl.Series([failed.get(k) if k else None for k in keys], dtype=pl.String)
        table = table.with_columns(error=pl.coalesce("error", lost))
        values = self.kind.values(self.config, table.drop("key"), extra)
        return pl.concat([found.rows.select("instruction_id"), values], how="horizontal")

    def _shards(self) -> Iterator[tuple[int, KeptRows, list[bytes | None]]]:
        for index in self._indices:
            yield index, *self._keyed(self._scores.shard(index))

    def _keyed(self, frame: pl.DataFrame) -> tuple[KeptRows, list[bytes | None]]:
        found = self._reader.of(frame, responses=self.kind.reads_response)
        return found, [self._key(found, place) for place in range(found.rows.height)]

    def _key(self, found: KeptRows, place: int) -> bytes | None:
        prompt, response = found.prompts[place], found.responses[place]
        if prompt is None or prompt.error is not None:
            return None
        if not self.kind.reads_response:
            return cell_key(prompt_key(prompt.messages))
        if response is None:
            return None
        return cell_key(prompt_key(prompt.messages), response.encode("utf-8", "surrogatepass"))

    def _left(self, keys: list[bytes | None]) -> list[bytes]:
        there = [key for key in keys if key is not None]
        lacks = self.cells.missing(as_keys(there))
        return [key for key, absent in zip(there, lacks.tolist(), strict=True) if absent]


def _target_row(target: Target) -> Row:
    return Row(target.key, target.messages, "", target.response)


def _row(key: bytes | None, found: KeptRows, place: int, shard: int) -> Row:
    prompt = found.prompts[place]
    if key is None or prompt is None:
        raise ValueError("a row without a prompt is not annotated")
    return Row(key, prompt.messages, prompt.text, found.responses[place] or "", shard)
