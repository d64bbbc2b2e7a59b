"""The report of an experiment in a real browser: no error, no request, tables that sort."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from experiment_tables import (
    CONFIG,
    CROWD,
    RANDOM,
    advice,
    cell,
    comparison,
    comparisons,
    experiment,
    overlaps,
    sensitivity,
    write_out,
)

from crowdselect_core.report.experiment_page import writing
from deployments.screenshots import Browser, opened

ABSENT = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")

HOSTILE = "</script><img src=x onerror=\"document.title='hacked'\">\u202eevil" + "w" * 2000
WIN, MT = ("arena-hard", "win_rate"), ("mt-bench", "average")
CHOICE = ("choice", "rows")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page of an experiment, opened."""
    out = tmp_path_factory.mktemp("experiment")
    cells = [
        *cell(CROWD, {WIN: [80.0, 82.0], MT: [6.0, 6.5], CHOICE: [9.0, 9.0]}, steps=1500),
        *cell(RANDOM, {WIN: [79.0, 80.0], MT: [6.0, 6.0], CHOICE: [9.0, 9.0]}, steps=900),
        *cell(HOSTILE, {WIN: [70.0, None], MT: [5.0, 5.5], CHOICE: [9.0, 9.0]}, steps=None),
    ]
    tables = {
        "experiment": experiment(cells),
        "comparisons": comparisons([comparison(), comparison(a=HOSTILE, primary=False)]),
        "overlaps": overlaps([(CROWD, HOSTILE, 1000.0, 0.3, 0.1, 0.2, 0.4)]),
        "advice": advice([(0, None, 3, "a", 9.0, 0.0, 1.0, 1.0, 1.0, True)]),
        "sensitivity": sensitivity([("model", HOSTILE, 9, 9, 0.5, 0.1, 0.3)]),
    }
    config = CONFIG | {"experiment": CONFIG["experiment"] | {"published": ["table2"]}}
    summary = {"cells": [CROWD, RANDOM, HOSTILE], "replicates": 2, "verdicts": [HOSTILE]}
    write_out(out, tables, config, summary)
    writing.write(str(out))
    with opened(Path(out / "report.html").as_uri()) as browser:
        browser.driver.get(browser.url)
        ready = "return document.documentElement.dataset.ready === 'true'"
        browser.until(lambda: browser.driver.execute_script(ready), "the page is not ready")
        yield browser


def test_it_works_without_an_error_or_a_request(page: Browser) -> None:
    assert [e for e in page.driver.get_log("browser") if e["level"] == "SEVERE"] == []
    run = page.driver.execute_script
    assert run("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert run("return document.getElementById('failure').hidden")
    assert "hacked" not in page.driver.title
    assert run("return document.querySelectorAll('img').length") == 0


def test_a_click_on_a_heading_sorts_a_table(page: Browser) -> None:
    [head] = page.driver.find_elements(
        "xpath", "(//section[@id='leaderboard']//table)[1]//button[normalize-space()='steps']"
    )

    def steps() -> list[str]:
        table = "document.querySelector('#leaderboard table')"
        row = "r => r.querySelectorAll('td.n')[3].textContent"
        return list(page.driver.execute_script(f"return [...{table}.tBodies[0].rows].map({row})"))

    page.driver.execute_script("arguments[0].click()", head)
    assert steps() == ["900", "1,500", "–"]
    page.driver.execute_script("arguments[0].click()", head)
    assert steps() == ["1,500", "900", "–"], "what is missing stands last"
    sorted_by = page.driver.execute_script(
        "return document.querySelector('#leaderboard [aria-sort]').getAttribute('aria-sort')"
    )
    assert sorted_by == "descending"


def test_it_fits_a_phone_and_every_figure_has_a_name(page: Browser) -> None:
    unnamed = "return document.querySelectorAll('svg:not([aria-label])').length"
    assert page.driver.execute_script(unnamed) == 0
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
