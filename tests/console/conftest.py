"""A folder in which commands are refused before they start a server."""

from pathlib import Path

import pytest
from little import parquet, rows

from flows import cli, console


@pytest.fixture
def no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a zoo of 30 rows, where no server may be started."""
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # this process keeps its own
    monkeypatch.setattr(console, "prepare", lambda **_: pytest.fail("a server would be started"))
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path / "zoo.parquet", rows(30))
    return tmp_path
