"""What `flows.report` refuses before a Prefect server is started."""

from pathlib import Path

import pytest

from flows import cli, console


def test_an_out_that_has_nothing_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)  # this process keeps its own
    monkeypatch.setattr(console, "prepare", lambda **_: pytest.fail("a server would be started"))
    out = tmp_path / "nope"
    assert cli.main(["--out", str(out)], flow="report") == 2
    assert capsys.readouterr().err.startswith(f"error: {out}: there is no manifest.json of a ")
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    assert cli.main(["--out", str(out)], flow="report") == 2
