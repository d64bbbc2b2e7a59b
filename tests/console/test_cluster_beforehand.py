"""What a run refuses of its Ray cluster before a Prefect server is started, and in its dry run."""

from pathlib import Path

import pytest
import yaml
from little import CROWD, REWARD
from servers import LOCAL, free_port

from flows import cli

pytestmark = pytest.mark.usefixtures("no_server")


def refused(capsys: pytest.CaptureFixture[str], executor: object, *flags: str) -> str:
    keys = {"dataset": "zoo.parquet", "crowd": CROWD, "reward_models": [REWARD], "budget": 6}
    Path("run.yaml").write_text(yaml.safe_dump(keys | {"executor": executor}))
    assert cli.main(["--config", "run.yaml", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_wrong_stage_or_address_is_refused_by_the_dry_run_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"kind": "ray", "resources": {"embedings": {"memory": "1GiB"}}}
    for flags in ((), ("--dry-run",)):
        assert "did you mean 'embeddings'?" in refused(capsys, wrong, *flags)
    monkeypatch.setenv("RAY_ADDRESS", "u:pw@10.0.0.1:6379")
    for flags in ((), ("--dry-run",)):
        line = refused(capsys, "ray", *flags)
        assert line.startswith("error: RAY_ADDRESS in the environment: expected HOST:PORT or auto")
        assert "pw" not in line


def test_a_cluster_that_is_not_there_is_said_before_a_server_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    at = {"kind": "ray", "address": f"{LOCAL}:{free_port()}"}
    line = refused(capsys, at)
    assert line.startswith(f"error: executor.address '{at['address']}': no Ray cluster can be")
