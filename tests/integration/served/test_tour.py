"""The tour of docs/deploying.md in a real browser."""

import shutil
from pathlib import Path

import pytest
from deployed import Deployed
from servers import LOCAL

from deployments.screenshots import opened, tour

pytestmark = pytest.mark.server

PROGRAMS = ("chromium", "chromedriver")
ABSENT = [name for name in PROGRAMS if shutil.which(name) is None]


@pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")
def test_the_tour(served: Deployed, tmp_path: Path) -> None:
    with opened(f"http://{LOCAL}:{served.port}", tmp_path) as browser:
        shown = tour(browser)
    stages = {"instructions", "metrics", "ranking", "selection", "publish"}
    assert stages <= set(shown.stages)
    assert "40 by crowdselect" in shown.summary
    assert "25 by crowdselect" in shown.custom, "what the form says is what the run does"
    assert {p.stem for p in tmp_path.glob("*.png")} == {
        "deployment", "form", "run", "rows", "summary",
    }  # fmt: skip
