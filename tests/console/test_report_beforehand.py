"""What `flows.report` refuses before a Prefect server is started."""

from pathlib import Path

import pytest

from flows import cli


def test_an_out_that_has_nothing_to_report(
    no_server: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = no_server / "nope"
    assert cli.main(["--out", str(out)], flow="report") == 2
    assert capsys.readouterr().err.startswith(f"error: {out}: there is no manifest.json of a ")
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    assert cli.main(["--out", str(out)], flow="report") == 2
