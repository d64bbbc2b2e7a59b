"""A ranking function of the user's: what it gets, what it may return, what it cannot do."""

import sys
from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.errors import ConfigError
from crowdselect_core.selection.methods.own_function import own_scores
from crowdselect_core.selection.methods.rank import rank_random

METRICS = pl.DataFrame(
    {
        "instruction_id": ["a", "b", "c"],
        "n_scores": [2, 2, 2],
        "difficulty": [1.0, 2.0, None],
        "separability": [0.5, 0.25, 0.125],
        "stability": [None, None, None],
        "barred": [None, "excluded", None],
    },
    schema_overrides={"stability": pl.Float64, "barred": pl.String},
)

MODULE = """
import os, sys, time

def rank(table):
    print("what it prints goes nowhere")
    assert "score" not in table.columns
    return [s * 10 for s in table["separability"]]

def some(table):
    return [None, 4]

def series(table):
    return table["separability"] + table["difficulty"]

def short(table):
    return [1.0]

def words(table):
    return ["a", "b"]

def endless(table):
    return [float("inf"), 0]

def chatty(table):
    for _ in range(300):
        print("x" * 9999, file=sys.stderr)
    print("y" * 9_999_999)
    raise RuntimeError("at last")

def raises(table):
    raise RuntimeError("no \\x1b[31m way")

def dies(table):
    os._exit(3)

def hangs(table):
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


def scores(folder: Path, name: str, seconds: float = 120.0) -> list[float | None]:
    ranking = rank_random(METRICS, 0)
    return own_scores(f"mine:{name}", ranking, [str(folder)], seconds).to_list()


def test_it_ranks_the_rows_that_may_be_chosen(folder: Path) -> None:
    search = [str(folder), *sys.path]
    ranking = rank_random(METRICS, 0)
    assert own_scores("mine:rank", ranking, search, 120).to_list() == [5.0, None, 1.25]
    assert own_scores("mine:some", ranking, search, 120).to_list() == [None, None, 4.0]
    assert own_scores("mine:series", ranking, search, 120).to_list() == [1.5, None, None]


def test_the_rows_come_by_id_whatever_their_order(folder: Path) -> None:
    (folder / "order.py").write_text("def rank(table): return list(range(table.height))\n")
    ranking = rank_random(METRICS[[2, 1, 0]], 0)
    found = own_scores("order:rank", ranking, [str(folder), *sys.path], 120)
    assert dict(zip(ranking["instruction_id"], found, strict=True)) == {"a": 0, "b": None, "c": 1}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("short", "ValueError: returned 1 numbers for 2 rows"),
        ("words", "TypeError: returned list, expected one number"),
        ("endless", "ValueError: returned an infinite number"),
        ("chatty", "RuntimeError: at last"),
        ("raises", "RuntimeError: no \\\\x1b.31m way"),
        ("dies", "exit 3"),
        ("nothing", "TypeError: module mine has no function nothing"),
    ],
)
def test_what_goes_wrong_is_one_line(folder: Path, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"^method mine:{name}: .*{told}"):
        scores(folder, name)


def test_it_is_ended_when_it_hangs(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no scores within 0\.5 s"):
        scores(folder, "hangs", 0.5)
