"""What a stage has to tell is what it returns: a warning logged meanwhile changes no byte."""

import logging
from pathlib import Path
from typing import Any

import pytest
from chain import Chosen, choose
from little import CROWD, REWARD, parquet, row

from crowdselect_core.store.backend.local import LocalBackend

SLOW = "the bucket answered 503; trying again for up to 60 s"
ROWS = [row(i, [0.1 * (i % 3), 0.2, 0.3 * (i % 2), 0.1]) for i in range(120)]  # coarse metrics
COARSE = "difficulty has only 6 distinct values over 120 eligible rows: its quantiles are coarse"
UNKNOWN = "exclude: 1 of 1 ids are not in the data set (nobody)"
SHORT = "the budget is 500 rows, but only 120 of 120 rows are eligible: taking all of them"


def chosen(folder: Path, **keys: Any) -> Chosen:
    exclude = folder / "exclude.txt"
    folder.mkdir()
    exclude.write_text("nobody\n")
    data = parquet(folder / "zoo.parquet", ROWS)
    return choose(
        folder, dataset=str(data), crowd=CROWD, reward_models=[REWARD], budget=500,
        weights=[1, 0, 0], allow_short=True, exclude=str(exclude), shard_rows=50, **keys,
    )  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a store by its name."""
    root = folder / "store"
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_warning_that_is_logged_while_a_stage_computes_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quiet = chosen(tmp_path / "quiet", workers=1)
    read = LocalBackend.read

    def slow(self: LocalBackend, name: str) -> bytes:
        for logger in ("crowdselect", "crowdselect.store"):
            logging.getLogger(logger).warning(SLOW)
        return read(self, name)

    monkeypatch.setattr(LocalBackend, "read", slow)
    disturbed = chosen(tmp_path / "slow", workers=1)
    assert SLOW in caplog.messages
    assert files(tmp_path / "slow") == files(tmp_path / "quiet")
    assert disturbed.inputs.ranking.facts["notes"] == [UNKNOWN, COARSE]
    assert disturbed.inputs.selection.facts["notes"] == [SHORT]
    assert disturbed.manifest["summary"]["notes"] == quiet.manifest["summary"]["notes"]


def test_the_user_sees_every_note_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen(tmp_path / "run")
    assert [caplog.messages.count(note) for note in (UNKNOWN, COARSE, SHORT)] == [1, 1, 1]
