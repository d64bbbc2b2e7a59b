"""Grades by an LLM: what is read of a reply, and a model that replies nonsense."""

from pathlib import Path

import polars as pl
import pytest
from endpoints import serving
from filling import Filling
from little import KEYS, parquet, rows

from crowdselect_core.annotate.grades import prompt_of, read_score
from crowdselect_core.annotate.targets import read_targets
from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.call_tracker import TooManyFailures
from crowdselect_core.stages.methods.nonsense import EARLY, Nonsense
from crowdselect_core.store.artifacts import Store
from flows.select import chosen


@pytest.mark.parametrize(
    ("words", "score"),
    [
        ("4.5\nIt is right.", 4.5), ("\n 5 \nGood", 5.0), ("0", 0.0), ("**3**", 3.0),
        ("Score: 4", 4.0), ("4/5", 4.0), ("3.", 3.0),
        ("5.5", None), ("6", None), ("-1", None), ("I give it 4", None), ("", None),
        ("4 or 5", None), ("The answer is right.\n4", None), ("nan", None),
    ],
)  # fmt: skip
def test_the_score_stands_alone_on_the_first_line(words: str, score: float | None) -> None:
    assert read_score(words) == score


def test_a_text_is_no_placeholder_and_no_marker() -> None:
    text = prompt_of("accuracy", "say {answer}", "{dimension} [end of answer]")
    assert "\nsay {answer}\n" in text
    assert "\n{dimension} [end of answer]\n" in text
    assert "Rate the accuracy of" in text


def test_replies_of_nonsense_end_the_run_with_their_rate(tmp_path: Path) -> None:
    """The test endpoint replies no number; what came is stored and not asked again."""
    path = parquet(tmp_path / "zoo.parquet", rows(20))
    with serving(tmp_path / "endpoint", "--nonsense-every", "1") as endpoint:
        engine = {"kind": "openai", "base_url": endpoint.url, "model": "model"}
        given = KEYS | {
            "dataset": str(path), "clusters": 0, "budget": 2, "store": str(tmp_path / "store"),
            "method": "direct-score", "direct_score": {"engine": engine},
        }  # fmt: skip
        config = load(None, given, {})
        with pytest.raises(TooManyFailures, match=r"\(100%\) have no usable reply, at most 10%"):
            chosen(config, run=Filling(Store(config.store)))
        asked = sum(endpoint.asked.values())
        assert asked >= 15
        with pytest.raises(TooManyFailures, match=r"of 20 rows \(100%\) have no usable reply"):
            chosen(config, run=Filling(Store(config.store)))  # what is stored is no better
        assert sum(endpoint.asked.values()) == asked
        lenient = given | {"direct_score": {"engine": engine, "max_unparsed": 1.0}, "budget": 1}
        run = Filling(Store(config.store))
        with pytest.raises(Exception, match="nothing to select"):
            chosen(load(None, lenient, {}), run=run)
        assert sum(endpoint.asked.values()) == asked
        assert (run.calls[0].planned, run.calls[0].cached) == (0, asked)


def test_the_limit_is_on_all_rows_and_an_early_stop_on_many() -> None:
    nonsense = Nonsense("instag", 0.1)
    nonsense.failed("unparsed: is no JSON")  # one of three new rows
    bad = "unparsed: is no JSON"
    nonsense.check(pl.Series([None] * 18 + ["filtered: x", bad, bad]))
    with pytest.raises(TooManyFailures, match=r"3 of 21 rows \(14%\) .*is no JSON"):
        nonsense.check(pl.Series([None] * 18 + [bad] * 3))
    nonsense.check(pl.Series([], dtype=pl.String))
    early = Nonsense("instag", 0.1)
    for _ in range(EARLY - 1):
        early.failed(bad)
    with pytest.raises(TooManyFailures, match=r"50 of 50 rows"):
        early.failed(bad)


@pytest.mark.parametrize("line", ["*" + " " * 200_000 + "x", "*" * 200_000, "4" + " " * 40 + "."])
def test_a_long_first_line_is_no_score(line: str) -> None:
    """Read at once, whatever its length."""
    assert read_score(line) is None


def test_targets_are_read_or_the_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
        '\n{"prompt": "c", "completion": "d"}\n{"instruction": "e"}\n'
    )
    found = read_targets(str(file))
    assert [(t.messages[0]["content"], t.response) for t in found] == [
        ("a", "b"), ("c", "d"), ("e", ""),
    ]  # fmt: skip
    for text, told in {
        "": "holds no example", "{": "line 1: is no JSON", "[1]": "line 1: is no object",
        '{"a": 1}': "has no prompt", '{"messages": [{"role": "tool", "content": ""}]}': "role",
        '{"messages": [{"role": "assistant", "content": "x"}]}': "no user turn",
    }.items():  # fmt: skip
        file.write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_targets(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_targets(str(tmp_path / "none.jsonl"))
