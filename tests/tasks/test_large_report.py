"""A page of very many rows is made only where it is asked for."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from crowdselect_core.report.page import writing
from tasks.report import is_wanted


@pytest.mark.parametrize("asked", [None, True, False])
def test_a_report_of_many_rows(
    asked: bool | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "find", lambda *_: None)
    config: Any = SimpleNamespace(report=asked)

    def wanted(rows: int) -> bool:
        inputs: Any = SimpleNamespace(ranking=SimpleNamespace(rows=rows))
        return is_wanted(config, inputs)

    with caplog.at_level(logging.INFO, "crowdselect"):
        assert wanted(writing.MOST_ROWS) == (asked is not False)
        assert not caplog.text
        assert wanted(writing.MOST_ROWS + 1) == (asked is True)
    assert ("--report writes it" in caplog.text) == (asked is None)
    monkeypatch.setattr(writing, "find", lambda *_: {"files": {}})
    assert wanted(writing.MOST_ROWS + 1) == (asked is not False), "one that is there stays"
