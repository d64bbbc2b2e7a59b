"""What the Prefect UI gets of a live crowd: how far each model is, and what each gave."""

from pathlib import Path

import pytest
from command import Command
from endpoints import model, serving, write_work
from runs import Server

pytestmark = pytest.mark.server

ROWS = 60


def test_every_model_has_a_progress_artifact_and_the_run_a_summary(
    command: Command, tmp_path: Path, server: Server
) -> None:
    with serving(tmp_path / "endpoint", "--delay", "400") as slow:
        crowd = [model("<b>{a}", 1, slow.url), model("b", 2, slow.url)]
        config = write_work(tmp_path / "work", ROWS, crowd)
        result = command.within(tmp_path / "work").of("generate").run("--config", config).ended(0)
    assert "b: 60 of 60" in result.stdout + result.stderr
    found = server.artifacts(server.latest())
    shown = {key: a for key, a in found.items() if a["type"] == "progress"}
    assert set(shown) == {"responses-b--a", "responses-b"}
    for artifact in shown.values():
        assert float(artifact["data"]) == 100.0
        assert "60 of 60" in artifact["description"]
        assert "tokens/s" in artifact["description"]
    names = {name for name in server.tasks(server.latest()) if name.startswith("responses")}
    assert names == {"responses <b>{a}", "responses b"}
    summary = found["generation-summary"]["data"]
    assert "&lt;b&gt;\\{a\\}" in summary
    assert "<b>" not in summary
    assert "<b>" not in "".join(a["description"] for a in shown.values())
