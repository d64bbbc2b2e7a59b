"""While an endpoint hangs, the progress says what the run waits for and promises no time left."""

import re
from pathlib import Path

import pytest
from command import Command
from endpoints import model, serving, write_work

pytestmark = pytest.mark.server

ROWS = 3


@pytest.mark.parametrize("flag", [[], ["--quiet"]])
def test_hanging_requests_are_counted_with_their_age(
    command: Command, tmp_path: Path, flag: list[str]
) -> None:
    with serving(tmp_path / "endpoint", "--fault", "hang=1") as hanging:
        engine = {"timeout": 14, "max_retries": 0}
        crowd = [model("a", 1, hanging.url, engine=engine)]
        config = write_work(tmp_path / "work", ROWS, crowd)
        result = command.within(tmp_path / "work").of("generate").run("--config", config, *flag)
    result.ended(1)
    waiting = re.findall(
        r"a: 0 of 3, waiting: 3 requests in flight, oldest \d+ s, timeout 14 s", result.stderr
    )
    assert bool(waiting) is not bool(flag)
    promised = [line for line in result.stderr.splitlines() if " a: " in line and "s left" in line]
    assert not promised
    assert "error: a: 3 of 3 calls failed" in result.stderr
    assert "\x1b" not in result.shown
