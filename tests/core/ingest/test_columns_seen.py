"""Rows that are like one before them are passed over, and the columns are the same."""

import random
from typing import Any

import pytest

from crowdselect_core.ingest import json_columns
from crowdselect_core.ingest.json_columns import ColumnsSeen

VALUES: list[Any] = ["a", "", 1, 0.5, True, None, [], [1], ["a"], {}, {"f": 1}, {"f": "a"}]


@pytest.mark.parametrize("most", [0, 2, 1024])
def test_what_is_passed_over_would_have_changed_nothing(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(most)
    monkeypatch.setattr(json_columns, "MOST_SHAPES", most)
    passed = 0
    for _ in range(20):
        all_noted, seen = ColumnsSeen(), ColumnsSeen()
        for line in range(1, 100):
            names = rng.sample(["a", "b", "c"], rng.randrange(4))
            row = {name: rng.choice(VALUES[: rng.choice([3, len(VALUES)])]) for name in names}
            all_noted.note(row, line, checked=True)
            if seen.has_all_of(row):
                passed += 1
            else:
                seen.note(row, line, checked=True)
        assert repr(seen.columns) == repr(all_noted.columns)  # lines and order too
    assert (passed > 0) == (most > 0)


def test_a_broken_text_is_no_whole_one() -> None:
    seen = ColumnsSeen()
    seen.note({"a": "\ud800"}, 1, checked=False)
    assert not seen.has_all_of({"a": "whole"})
    seen.note({"a": "whole"}, 2, checked=True)
    assert seen.columns == {"a": {None: {json_columns.BrokenText: 1, str: 2}}}
    assert seen.has_all_of({"a": "another"})
