"""OUT/report.html in a real browser: it works, it asks for nothing, and its sliders are exact."""

import json
import random
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from chain import Chosen, choose
from little import KEYS, parquet, rows

from crowdselect_core import integrate, select
from crowdselect_core.report.page import writing
from crowdselect_core.report.page.page import assembled
from crowdselect_core.report.page.sections.sliders import drawn, reselection_columns
from deployments.screenshots import Browser, opened

ABSENT = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")

HOSTILE = '</script><img src=x onerror="document.title=\'hacked\'"><b>\u202eevil\x00 & "quotes" '
METRICS = ("difficulty", "separability", "stability")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened("about:blank") as made:
        yield made


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("report")
    table = rows(200)
    for number, one in enumerate(table):
        one["instruction"] = f"{HOSTILE}{'w' * 10_000}" if number % 3 == 0 else f"What is {number}?"
        if one["ant-7b"]["content"]:
            one["ant-7b"]["content"] = HOSTILE
    path = parquet(folder / "z.parquet", table)
    made = choose(folder, dataset=str(path), **KEYS | {"budget": 40, "clusters": 4})
    writing.write(made.config, made.store, made.inputs)
    return made


@pytest.fixture
def page(browser: Browser, chosen: Chosen) -> Browser:
    """The page, freshly opened, in light colours and in a wide window."""
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    emulate(browser, media="", scheme="light")
    browser.driver.get_log("browser")
    shown(browser, chosen.out / "report.html")
    return browser


def emulate(browser: Browser, media: str, scheme: str) -> None:
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # what scrolls cannot be clicked
    ]
    how = {"media": media, "features": features}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", how)


def shown(browser: Browser, path: Path) -> None:
    browser.driver.get(path.as_uri())
    ready = "return document.documentElement.dataset.ready === 'true'"
    browser.until(lambda: browser.driver.execute_script(ready), "the page is not ready")


def told(browser: Browser, script: str, *arguments: Any) -> Any:
    return browser.driver.execute_script(f"return {script}", *arguments)


def text(browser: Browser, css: str) -> str:
    return str(told(browser, f"document.querySelector({json.dumps(css)}).textContent"))


def count(browser: Browser, css: str) -> int:
    return int(told(browser, f"document.querySelectorAll({json.dumps(css)}).length"))


def typed(browser: Browser, css: str, value: str) -> None:
    """Put a value into a field as a person does: the page hears of it."""
    browser.driver.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}));"
        "e.dispatchEvent(new Event('change', {bubbles: true}))", css, value,
    )  # fmt: skip


def first_rows(browser: Browser) -> list[int]:
    """The ranks in the table's rows, which lie in the second column."""
    cells = "[...document.querySelectorAll('#rows-table tbody tr:not(.opened) td:nth-child(2)')]"
    return [int(rank) for rank in told(browser, f"{cells}.map(c => c.textContent)")]


def test_it_works_without_an_error_or_a_request(page: Browser) -> None:
    errors = [line for line in page.driver.get_log("browser") if line["level"] == "SEVERE"]
    assert errors == []
    assert told(page, "performance.getEntriesByType('resource').map(e => e.name)") == []
    assert told(page, "document.getElementById('failure').hidden")
    assert "hacked" not in page.driver.title
    assert count(page, "bdi img, bdi b, .data img") == 0
    drawn_map = "document.querySelector('#map-plot > *').shadowRoot !== null"
    assert told(page, drawn_map), "Bokeh has drawn the map"
    assert told(page, "Bokeh.documents.length") == 1


def test_of_scores_alone_the_table_has_ids_and_no_answers(page: Browser, tmp_path: Path) -> None:
    names = [one["name"] for one in KEYS["crowd"]]
    reward = KEYS["reward_models"][0]
    table = [{"id": one["uuid"], **{n: one[n][reward] for n in names}} for one in rows(30)]
    pl.DataFrame(table, infer_schema_length=None).write_csv(tmp_path / "s.csv")
    made = choose(tmp_path, dataset=str(tmp_path / "s.csv"), **KEYS)
    writing.write(made.config, made.store, made.inputs)
    page.driver.get_log("browser")
    shown(page, made.out / "report.html")
    assert count(page, "#rows-model") == 0
    assert told(page, "[...document.querySelectorAll('#rows-table th')].map(t => t.textContent)")[
        :2
    ] == ["rank", "id"]
    page.press("(//button[contains(@class, 'open')])[1]")
    assert "answer" not in text(page, "#rows-table tr.opened").lower()
    assert names[0] in text(page, "#rows-table tr.opened")
    assert [x for x in page.driver.get_log("browser") if x["level"] == "SEVERE"] == []


def test_the_table_is_searched_sorted_and_paged(page: Browser, chosen: Chosen) -> None:
    assert first_rows(page) == list(range(1, 21))
    page.press("//*[@id='rows-next']")
    assert first_rows(page) == list(range(21, 41))
    page.press("//th[@data-key='score']/button")  # best first
    page.press("//th[@data-key='score']/button")  # worst first
    worst = chosen.selection.sort(["score", "rank"]).head(20)
    assert first_rows(page) == worst["rank"].to_list()
    assert told(page, "document.querySelector(\"th[data-key='score']\").ariaSort") == "ascending"
    wanted = chosen.ids[4]
    typed(page, "#rows-search", wanted)
    page.until(lambda: first_rows(page) == [5], "the search does not find the row")
    typed(page, "#rows-search", "no such word")
    page.until(lambda: text(page, "#rows-status") == "no rows", "the search finds something")


def test_a_row_opens_to_its_why(page: Browser, chosen: Chosen) -> None:
    page.driver.find_element("css selector", "#rows-table button.open").send_keys("\ue007")  # Enter
    why = text(page, "tr.opened")
    assert f"Why: {chosen.ranking['reason'][0]}" in why
    assert "The crowd, best score first" in why
    assert chosen.selection["response_model"][0] in why
    assert count(page, "tr.opened meter") == 3
    assert count(page, "tr.opened tr.kept") == 1
    button = "document.querySelector('#rows-table button.open')"
    assert told(page, f"{button}.getAttribute('aria-expanded')") == "true"


def test_the_sliders_select_again(page: Browser, chosen: Chosen) -> None:
    status = "#reselection-status"
    page.until(lambda: "the same rows as the run's" in text(page, status), "nothing is selected")
    typed(page, "[data-number='0']", "-1.5")
    typed(page, "#reselection-budget", "0.25")
    typed(page, "#reselection-quota", "proportional")
    wanted = "--weights=-1.5,1,2 --budget 0.25 --quota proportional"
    page.until(  # what was typed is selected by a moment after, one after the other
        lambda: text(page, "#reselection-command").endswith(wanted), "the sliders change nothing"
    )
    keys = KEYS | {"budget": 0.25, "weights": [-1.5, 1, 2], "quota": "proportional", "clusters": 4}
    again = choose(
        Path(chosen.config.store).parent, dataset=chosen.config.dataset.path,
        **keys | {"out": str(chosen.out.parent / "again")},
    )  # fmt: skip
    comes, goes = set(again.ids) - set(chosen.ids), set(chosen.ids) - set(again.ids)
    assert f"{len(comes)} come in, {len(goes)} go out" in text(page, status)
    codes = "[...document.querySelectorAll('#reselection-in li code')].map(c => c.textContent)"
    assert set(told(page, codes)) == comes
    typed(page, "[data-number='0']", "0")
    typed(page, "[data-number='1']", "0")
    typed(page, "[data-number='2']", "0")
    page.until(lambda: "give one metric a weight" in text(page, status), "no weight is taken")
    assert [text(page, f"#reselection-{of}") for of in ("command", "yaml", "in")] == [""] * 3
    page.press("//*[@id='reselection-reset']")
    page.until(lambda: "the same rows" in text(page, status), "it does not go back")


def test_every_field_has_a_name_and_every_table_its_heads(page: Browser) -> None:
    nameless = (
        "[...document.querySelectorAll('input, select, button')].filter(e =>"
        " !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).length"
    )
    assert told(page, nameless) == 0
    assert told(page, "[...document.querySelectorAll('table')].every(t => t.querySelector('th'))")
    assert told(
        page, "[...document.querySelectorAll('svg')].every(s => s.ariaLabel || s.ariaHidden)"
    )
    levels = told(page, "[...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_dark_phone_and_print(page: Browser) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = told(page, background)
    emulate(page, media="", scheme="dark")
    assert told(page, background) != light
    emulate(page, media="print", scheme="light")
    assert told(page, "getComputedStyle(document.querySelector('nav')).display") == "none"
    emulate(page, media="", scheme="light")
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    assert told(page, "document.documentElement.scrollWidth") <= 390


def many_rows(count: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return metrics with ties, holes and float noise, in id order, and their clusters."""
    rng = np.random.default_rng(5)
    stability = np.round(rng.normal(0, 0.5, count), 2).clip(-1, 1)
    stability += rng.normal(0, 1e-12, count)  # noise that rounding takes away
    frame = pl.DataFrame(
        {
            "instruction_id": [f"{i:08x}" for i in range(count)],
            "n_scores": rng.integers(1, 20, count),
            "difficulty": np.round(rng.normal(size=count), 4),
            "separability": rng.gamma(2.0, size=count),
            "stability": stability,
            "answerable": rng.random(count) > 0.01,
        }
    )
    holes = {name: rng.random(count) < 0.02 for name in METRICS[1:]}
    frame = frame.with_columns(
        pl.when(pl.Series(hole)).then(None).otherwise(pl.col(name)).alias(name)
        for name, hole in holes.items()
    )
    clusters = rng.choice(10, count, p=np.arange(1, 11) / 55)
    return frame, frame.select("instruction_id").with_columns(cluster_id=pl.Series(clusters))


def settings(count: int) -> list[dict[str, Any]]:
    """Return settings: weights of either sign and zero, budgets in rows and shares, quotas."""
    rng = random.Random(8)
    made = []
    for number in range(count):
        weights = [
            rng.choice([0, 0.25, 1, 2, -1, round(rng.gauss(0, 2), 3), 1e-3]) for _ in METRICS
        ]
        weights[number % 3] = weights[number % 3] or 1.5
        budget = rng.choice([1, 7, 100, 1000, 5000, 0.01, 0.29, 0.0037])
        quota = ("equal", "proportional", "reference")[number % 3]
        made.append({"weights": weights, "budget": budget, "quota": quota})
    return made


def test_fifty_settings_at_100_000_rows_equal_the_library(browser: Browser, tmp_path: Path) -> None:
    metrics, clusters = many_rows(100_000)
    ids = metrics["instruction_id"]
    fit = (metrics["answerable"] & (metrics["n_scores"] >= 2)).to_numpy()
    cluster = clusters["cluster_id"].to_numpy().astype(np.uint8)
    columns = reselection_columns(metrics, fit, METRICS)
    columns |= {"cluster": cluster, "chosen": np.zeros(len(ids), np.uint8)}
    start = {
        "metrics": list(METRICS), "weights": [1, 1, 2], "sign": 1, "budget": "1000",
        "quota": "equal", "renamed": False, "tokens": False, "most": 90_000, "yaml": "",
    }  # fmt: skip
    path = tmp_path / "report.html"
    path.write_bytes(assembled("Sliders", [drawn(start, columns, ids)]))
    shown(browser, path)
    wanted = settings(50)
    found = browser.driver.execute_async_script(
        "const [all, done] = arguments; CrowdSelect.reselectionData().then(({data}) =>"
        " done(all.map((s) => CrowdSelect.reselected(data, s).rows)))", wanted,
    )  # fmt: skip
    for setting, rows_found in zip(wanted, found, strict=True):
        ranking = integrate(metrics, setting["weights"])
        expected = select(ranking, clusters, setting["budget"], setting["quota"])
        assert ids[rows_found].to_list() == expected["instruction_id"].to_list(), setting
