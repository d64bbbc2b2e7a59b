"""The words of servers for the five ways in which a generation ends."""

import polars as pl
import pytest

from crowdselect_core.util.finish_reasons import (
    Ending,
    normalise_finish_reason,
    normalised_column,
)


@pytest.mark.parametrize(
    ("raw", "name", "ending"),
    [
        (None, None, Ending.COMPLETE),
        ("", None, Ending.COMPLETE),
        ("null", None, Ending.COMPLETE),
        ("stop", "stop", Ending.COMPLETE),
        ("STOP", "stop", Ending.COMPLETE),
        ("eos_token", "stop", Ending.COMPLETE),
        ("end_turn", "stop", Ending.COMPLETE),
        ("length", "length", Ending.CUT),
        ("LENGTH", "length", Ending.CUT),
        ("max_tokens", "length", Ending.CUT),
        ("MAX_TOKENS", "length", Ending.CUT),
        ("max-output-tokens", "length", Ending.CUT),
        ("FinishReason.MAX_TOKENS", "length", Ending.CUT),
        ("FINISH_REASON_MAX_TOKENS", "length", Ending.CUT),
        (" model_length ", "length", Ending.CUT),
        ("maxTokens", "length", Ending.CUT),
        ("content_filter: PROHIBITED_CONTENT", "content_filter", Ending.FILTERED),
        ("SAFETY", "content_filter", Ending.FILTERED),
        ("sensitive", "content_filter", Ending.FILTERED),
        ("error", "error", Ending.FAILED),
        ("abort", "error", Ending.FAILED),
        ("insufficient_system_resource", "error", Ending.FAILED),
        ("tool_use", "tool_calls", Ending.COMPLETE),
        ("whatever", "whatever", Ending.UNKNOWN),
        ("a\x1b[31m" + "x" * 99, "a?[31m" + "x" * 34, Ending.UNKNOWN),
    ],
)
def test_a_servers_word_means_one_of_five_endings(
    raw: str | None, name: str | None, ending: Ending
) -> None:
    found = normalise_finish_reason(raw)
    assert (found.name, found.ending) == (name, ending)
    assert found.is_cut is (ending is Ending.CUT)
    assert found.is_answer is (ending not in (Ending.FAILED, Ending.FILTERED))


def test_a_column_is_normalised_word_by_word() -> None:
    column = pl.Series("end", ["MAX_TOKENS", None, "stop", "odd", "null", "MAX_TOKENS"])
    got = normalised_column(column)
    assert got.to_list() == ["length", None, "stop", "odd", None, "length"]
    assert got.name == "end"


@pytest.mark.parametrize("column", [pl.Series("e", [], pl.String), pl.Series("e", [None, None])])
def test_a_column_without_words_stays_null(column: pl.Series) -> None:
    got = normalised_column(column)
    assert got.dtype == pl.String
    assert got.to_list() == [None] * len(column)
