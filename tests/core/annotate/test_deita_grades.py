"""Deita's grades by an LLM: what is asked of a row, what is read, and the product that ranks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from endpoints import serving
from filling import Filling
from little import KEYS, parquet, rows

from crowdselect_core.annotate.base import Annotation, Row
from crowdselect_core.annotate.deita_grades import DeitaAnnotator, prompts_of, turns_of
from crowdselect_core.chat import Message
from crowdselect_core.config.load import load
from crowdselect_core.config.method_models import DeitaConfig
from crowdselect_core.errors import UserError
from crowdselect_core.generate.base import Answer, Failure, Request, never
from crowdselect_core.planning import preflight
from crowdselect_core.store.artifacts import Store
from flows.select import chosen

TALK = (
    Message(role="system", content="Be brief."), Message(role="user", content="one?"),
    Message(role="assistant", content="1"), Message(role="user", content="two?"),
)  # fmt: skip


class Scripted:
    """An engine that gives the replies of a list, the last request's first."""

    limits: tuple[str, ...] = ()
    stopped = staticmethod(never)

    def __init__(self, *replies: str | Failure) -> None:
        self.replies = replies

    def check(self) -> None: ...

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        for request, reply in reversed(list(zip(requests, self.replies, strict=True))):
            if isinstance(reply, Failure):
                done(Answer(request.key, error="broken: x", failure=reply))
            else:
                done(Answer(request.key, reply))

    def close(self) -> None: ...


def annotated(*replies: str | Failure) -> Annotation:
    found: list[Annotation] = []
    row = Row(bytes(16), TALK, "one?\n\ntwo?", "2")
    DeitaAnnotator(DeitaConfig(), Scripted(*replies)).run(iter([row]), found.append)
    (one,) = found
    return one


def test_every_turn_is_graded_for_itself() -> None:
    assert turns_of(TALK, "2") == [("one?", "1"), ("two?", "2")]
    asked = prompts_of(turns_of(TALK, "2"))
    assert ["\none?\n" in text for text in asked] == [True, False, True, False]
    assert ["Rate the quality" in text for text in asked] == [False, False, True, True]
    assert "\n2\n" in asked[3]
    told = annotated("3", "4.5", "6 / 6", "Score: 1")
    assert told.cell[:2] == ([3.0, 4.5], [6.0, 1.0])
    assert told.error is None


def test_a_missing_grade_is_never_made_up() -> None:
    told = annotated("3", "7", "6", "0")
    assert told.cell[:2] == (None, None)
    assert told.error is not None
    assert told.error.startswith("unparsed: expected a number from 1 to 6")
    assert (told.failure, told.cell[2]) == (Failure.ROW, "3\n7\n6\n0")
    passing = annotated("3", "words", Failure.INFRASTRUCTURE, "1")
    assert (passing.cell, passing.failure) == ((), Failure.INFRASTRUCTURE)  # to be asked again


def ranked(folder: Path, url: str, **keys: Any) -> tuple[pl.DataFrame, Filling]:
    engine = {"kind": "openai", "base_url": url, "model": "model"}
    path = parquet(folder / "zoo.parquet", rows(12))
    given = KEYS | {
        "dataset": str(path), "clusters": 0, "budget": 3, "store": str(folder / "store"),
        "method": "deita", "deita": {"engine": engine, "threshold": 1.0},
    }  # fmt: skip
    run = Filling(Store(given["store"]))
    inputs = chosen(load(None, given | keys, {}), run=run).inputs
    return inputs.ranking.open(run.store).frame(), run


def test_rows_rank_by_the_product_and_are_asked_once(tmp_path: Path) -> None:
    with serving(tmp_path / "endpoint") as endpoint:
        table, run = ranked(tmp_path, endpoint.url)
        graded = table.filter(pl.col("deita").is_not_null())
        assert run.calls[0].planned == graded.height > 8
        asked = sum(endpoint.asked.values())
        assert asked == 2 * graded.height
        for row in graded.iter_rows(named=True):
            [complexity], [quality] = row["complexity"], row["quality"]
            assert 1 <= min(complexity, quality) <= max(complexity, quality) <= 6
            assert row["deita"] == complexity * quality
        again, run = ranked(tmp_path, endpoint.url)
        assert again.equals(table)
        assert (run.calls[0].planned, sum(endpoint.asked.values())) == (0, asked)


@pytest.mark.parametrize(
    ("deita", "told"),
    [
        ({}, "or give deita.engine"),
        ({"complexity": "a"}, "--deita-quality"),
        ({"complexity": "a", "engine": "here"}, "give either both columns or the engine"),
    ],
)
def test_columns_or_an_engine(tmp_path: Path, deita: dict[str, Any], told: str) -> None:
    path = parquet(tmp_path / "zoo.parquet", rows(6))
    if "engine" in deita:
        deita["engine"] = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    given = KEYS | {"dataset": str(path), "method": "deita", "deita": deita}
    with pytest.raises(UserError, match=told):
        preflight.check(load(None, given, {}))
