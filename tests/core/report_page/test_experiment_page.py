"""The page of an experiment: the verdict first, numbers with intervals, escaped, made from OUT."""

import json
import re
from copy import deepcopy
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from experiment_tables import (
    BASE,
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

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, ReportError, StorageError
from crowdselect_core.experiment.comparisons import Comparisons
from crowdselect_core.experiment.piloting import Advised
from crowdselect_core.export import experiment_files
from crowdselect_core.export.experiment_files import Results
from crowdselect_core.report.experiment_page import page as pages
from crowdselect_core.report.experiment_page import writing
from crowdselect_core.report.experiment_page.data import ExperimentData
from crowdselect_core.report.experiment_page.drawing import DIGIT, labelled
from crowdselect_core.report.experiment_page.page import page

WIN, MT, LOSS = ("arena-hard", "win_rate"), ("mt-bench", "average"), ("heldout-loss", "loss")
CHOSEN = {
    ("choice", "rows"): [1000.0] * 3,
    ("choice", "cluster_entropy"): [2.0, 2.1, 2.2],
    ("choice", "distinct_2"): [0.5, 0.6, 0.7],
    ("choice", "model_share/qwen-7b"): [0.3, 0.6],  # and none in the third replicate
}
CELLS = [
    *cell(CROWD, {WIN: [80.0, 82.0, 84.0], MT: [6.0, 6.5, 7.0], **CHOSEN}, weights="1,1,2"),
    *cell(RANDOM, {WIN: [79.0, 80.0, 81.0], MT: [6.0, 6.0, 6.0], **CHOSEN}),
    *cell(f"untuned {BASE}", {WIN: [74.0] * 3, MT: [6.2] * 3}, budget=None, loss=None),
]
SUMMARY: dict[str, Any] = {
    "cells": [CROWD, RANDOM, f"untuned {BASE}"], "replicates": 3,
    "verdicts": ["the first verdict", "another verdict"], "notes": ["a note"], "advice": [],
}  # fmt: skip
OVERLAPS = [(CROWD, RANDOM, 1000.0, 0.25, 0.05, 0.2, 0.3)]
ADVICE = [
    (0, None, 3, "a,b", 100.0, 0.0, 1.0, 1.0, 1.0, False),
    (1, "falcon", 2, "a,b", 60.0, 0.4, 0.85, 0.8, 0.9, True),
]
SENSITIVITY = [
    ("weights", "1,1,1", 90, 10, 0.7, 0.1, 0.54),
    ("model", "falcon", 90, 10, 0.4, 0.1, 0.25),
]
HOSTILE = "</td><script>alert(1)</script>\u202e\x00{{ 7 * 7 }}"


def data(**other: Any) -> ExperimentData:
    given: dict[str, Any] = {
        "config": CONFIG, "summary": SUMMARY, "experiment": experiment(CELLS),
        "comparisons": comparisons([comparison(), comparison(
            primary=False, benchmark="mt-bench", metric="average", difference=0.5, low=0.1,
            high=0.9, p=0.01, p_holm=0.03)]),
        "overlaps": overlaps(OVERLAPS),
    }  # fmt: skip
    return ExperimentData(**given | other)


def shown(**other: Any) -> str:
    return page(data(**other)).decode()


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', html)


def text(html: str, section: str = "main") -> str:
    """Return the words of a section, one space between any two."""
    body = html.split(f'id="{section}"', 1)[1].split("</section>", 1)[0]
    return " ".join(unescape(re.sub("<[^>]*>", " ", body)).split())


def configured(**keys: Any) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    config["experiment"] |= keys
    return config


def test_the_verdict_stands_first() -> None:
    html = shown()
    assert sections(html) == [
        "verdict", "comparisons", "leaderboard", "gain", "benchmarks", "choices", "overlaps",
    ]  # fmt: skip
    said = text(html, "verdict")
    assert f"{CROWD} against {RANDOM}: not distinguishable. the first verdict" in said
    assert "Warnings a note" in said
    assert "1 exploratory comparison in words another verdict" in said
    found = shown(comparisons=comparisons([comparison(low=1.0, p=0.01)]))
    assert f"{CROWD} is better than {RANDOM}." in text(found, "verdict")


def test_a_stranger_is_told_what_the_names_mean() -> None:
    said = text(shown(), "verdict")
    assert (
        "Methods crowdselect: the metrics of the crowd together, weighted; random: rows drawn"
        in said
    )
    assert "untuned: the base model without a training" in said
    assert (
        "Cells each is one setting, named by its method and k: clusters (0: none); n: chosen"
        in said
    )
    assert "tokens:" not in said
    assert "rewards:" not in said
    assert "Budget: 1,000 rows" in text(shown(), "leaderboard")


def test_a_replicate_has_what_the_config_draws_anew() -> None:
    assert (
        "A replicate has its own held-out rows (25.0 % of the prompts), subsample (80 % of the "
        "other rows), random draws, training seed Base models" in text(shown(), "verdict")
    )
    choices = text(shown(config=configured(train=False) | {"heldout": None}), "verdict")
    assert "its own subsample (80 % of the rows), random draws Base models" in choices


def test_a_comparison_has_all_its_numbers() -> None:
    rows = text(shown(), "comparisons")
    assert f"{CROWD} − {RANDOM} named beforehand" in rows
    assert "+2.0 [-1.0, 5.0] 0.25 – 3 4 not distinguishable" in rows
    assert "+0.50 [0.10, 0.90] 0.01 0.03 3 4 better" in rows
    assert "Fewer than 10 replicates: do not trust the interval" in rows


def test_the_bar_of_a_comparison_has_the_place_of_its_interval() -> None:
    html = shown()
    figure = re.search(
        r'class="zero" x1="([\d.]+)".*?<line x1="([\d.]+)" x2="([\d.]+)".*?<circle cx="([\d.]+)"',
        html.split('id="comparisons"')[1], re.S,
    )  # fmt: skip
    assert figure is not None
    zero, low, high, mean = map(float, figure.groups())
    # -1, 0, 2 and 5 on one scale: a unit is a sixth of the interval
    unit = (high - low) / 6
    assert (zero - low, mean - low) == pytest.approx((unit, 3 * unit), abs=0.2)


def test_the_leaderboard_has_means_intervals_and_costs() -> None:
    rows = text(shown(), "leaderboard")
    # mean 82, s 2, t(2) 4.3027, variance factor 1/3 + 0.25/0.75: 82 -+ 4.3027 * 2 * sqrt(2/3)
    assert f"{CROWD} 82 74.97 to 89.03 3 300,000 1,500 1,200,000 600" in rows
    first = rows.index("win_rate of arena-hard")
    assert rows.index(CROWD, first) < rows.index(RANDOM, first) < rows.index("untuned", first)


def test_a_loss_is_best_when_low_and_a_gain_is_turned() -> None:
    table = experiment([*cell(CROWD, {LOSS: [1.5, 1.4]}), *cell(RANDOM, {LOSS: [1.2, 1.1]})])
    row = comparison(benchmark="heldout-loss", metric="loss", difference=0.3, low=0.2, high=0.4)
    html = shown(experiment=table, comparisons=comparisons([row]), overlaps=overlaps([]))
    board = text(html, "leaderboard").split("lower is better")[1]
    assert board.index(RANDOM) < board.index(CROWD)
    assert "-0.30 [-0.40, -0.20]" in text(html, "gain")


def test_a_cell_whose_cost_is_not_known_has_its_gain_all_the_same() -> None:
    other = "reward k=10 n=1000"
    table = experiment(
        [*CELLS, *cell(other, {WIN: [81.0] * 3}, cost_tokens=None, answer_tokens=None)]
    )
    compared = comparisons([comparison(), comparison(a=other, primary=False)])
    html = shown(experiment=table, comparisons=compared)
    section = html.split('id="gain"')[1].split("</section>")[0]
    assert section.count("<circle") == 1
    assert f"2 {other} +2.0 [-1.0, 5.0] – – 1,500 600" in text(html, "gain")


def test_choices_are_described() -> None:
    rows = text(shown(), "choices")
    assert f"{CROWD} 1,000 2.100 0.6000" in rows
    assert "qwen-7b 30.0 % 30.0 %" in rows, "a replicate that keeps none counts as 0"


def test_overlaps_stand_beside_chance() -> None:
    rows = text(shown(), "overlaps")
    assert f"1 {CROWD} 0.25 0.05" in rows
    assert f"{CROWD} {RANDOM} 0.250 0.200 to 0.300 0.050" in rows
    # 0.20 of the 0.95 between chance and 1 is the second of ten steps
    assert 'class="n plus2"' in shown()


def test_both_benchmarks_are_drawn_against_each_other() -> None:
    html = shown()
    assert f"1 {CROWD} 6.500 82.0" in text(html, "benchmarks")
    assert html.split('id="benchmarks"')[1].split("</section>")[0].count("<circle") == 3
    without = experiment([r for r in CELLS if r["benchmark"] != "mt-bench"])
    assert "benchmarks" not in sections(shown(experiment=without))


def test_the_advisor_is_shown_where_there_was_one() -> None:
    config = configured(advisor={"keep": 0.8, "unit": "$"})
    told = SUMMARY | {"advice": ["2 of 3 models keep 85%"]}
    html = shown(
        config=config, summary=told, advice=advice(ADVICE), sensitivity=sensitivity(SENSITIVITY)
    )
    assert sections(html)[-2:] == ["advice", "sensitivity"]
    rows = text(html, "advice")
    assert "2 of 3 models keep 85%" in rows
    assert "1 falcon advised 2 a,b 60 40 % 85 % [80 %, 90 %]" in rows
    assert "falcon 40 % 10 % 0.25 90 10" in text(html, "sensitivity")
    failed = shown(summary=told, advice=advice([]), sensitivity=sensitivity([]))
    assert sections(failed)[-1] == "advice", "an advisor that could not work says why"
    assert "polyline" not in failed.split('id="advice"')[1].split("</section>")[0]


def test_published_numbers_stand_beside_the_cells_they_are_about() -> None:
    rows = text(shown(config=configured(published=["table13", "table2"])), "published")
    random = "random † Table 4 has 6.443 and 80.9 6.743 80.9 "
    assert f"{random}{RANDOM} 6.000 6.000 to 6.000 80.0" in rows
    assert "stability 6.913 81.8 not in this experiment – –" in rows
    assert f"Multi, weights 1,1,2 7.103 85.5 {CROWD} 6.500" in rows
    assert "It has further numbers for Llama-3.2-3B, Qwen2.5-3B-Instruct, Qwen2.5-3B" in rows
    assert "no tolerance is claimed" in rows


def test_published_numbers_are_drawn_beside_ours() -> None:
    html = shown(config=configured(published=["table13"]))
    assert "4 Table 13: random, Llama-3.2-3B-Instruct † published 6.743 80.9" in text(
        html, "benchmarks"
    )
    assert html.count('<g class="published">') == 4


def test_choices_alone_have_no_comparisons() -> None:
    choices = experiment([r for r in CELLS if r["benchmark"] == "choice"])
    told = SUMMARY | {"verdicts": []}
    html = shown(experiment=choices, comparisons=comparisons([]), summary=told,
                 config=configured(train=False))  # fmt: skip
    assert sections(html) == ["verdict", "choices", "overlaps"]
    assert "Nothing was trained" in text(html, "verdict")
    assert "comparisons of trained cells" not in text(html, "verdict")


def test_without_a_primary_comparison_all_are_exploratory() -> None:
    html = shown(comparisons=comparisons([comparison(primary=False)]))
    assert "No comparison was named beforehand" in text(html, "verdict")
    assert "gain" not in sections(html)


def test_one_replicate_has_no_interval_but_that_of_its_items() -> None:
    table = experiment([
        *cell(CROWD, {WIN: [80.0]}, low=76.0, high=84.0), *cell(RANDOM, {WIN: [None]}),
    ])  # fmt: skip
    row = comparison(low=None, high=None, detectable=None, replicates=1, p=1.0)
    html = shown(experiment=table, comparisons=comparisons([row]), overlaps=overlaps([]))
    assert f"{CROWD} 80 76 to 84 over items 1 " in text(html, "leaderboard")
    assert f"{RANDOM} – 0 of 1 " in text(html, "leaderboard")
    assert "+2.0 1 – 1 – a single replicate has no interval" in text(html, "comparisons")


def test_hostile_names_are_texts() -> None:
    name = HOSTILE + "w" * 5000
    table = experiment(
        [r | {"cell": name if r["cell"] == CROWD else r["cell"], "base_model": HOSTILE}
         for r in CELLS]
    )  # fmt: skip
    html = shown(
        experiment=table,
        comparisons=comparisons([comparison(a=name, base_model=HOSTILE)]),
        overlaps=overlaps([(name, RANDOM, 1000.0, 0.2, 0.1, None, None)]),
        summary=SUMMARY | {"cells": [name], "verdicts": [name], "notes": [HOSTILE]},
        config=configured(seeds=[HOSTILE], primary={"method": HOSTILE}),
        advice=advice([(1, HOSTILE, 1, HOSTILE, 1.0, 0.5, 0.5, 0.4, 0.6, True)]),
        sensitivity=sensitivity([(HOSTILE, HOSTILE, 1, 1, 0.5, 0.1, 0.3)]),
    )
    assert "<script>alert" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)
    assert "{{ 7 * 7 }}" in unescape(html)
    assert len(re.findall(r"<script\b", html)) == 1


def test_long_tables_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [comparison(a=f"cell {i}", primary=i == 0) for i in range(400)]
    html = shown(comparisons=comparisons(many))
    assert "100 more comparisons stand in comparisons.parquet" in text(html, "comparisons")
    size = len(html.encode())
    monkeypatch.setattr("crowdselect_core.report.page.page.MOST_BYTES", size - 1)
    assert "300 more comparisons stand in" in text(
        shown(comparisons=comparisons(many)), "comparisons"
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    given = data()
    tables = {n: getattr(given, n) for n in ("experiment", "comparisons", "overlaps")}
    tables |= {"advice": advice(ADVICE), "sensitivity": sensitivity(SENSITIVITY)}
    write_out(tmp_path / "out", tables, CONFIG, SUMMARY)
    return tmp_path / "out"


def test_the_page_is_written_and_made_again_from_what_lies_in_out(out: Path) -> None:
    assert writing.is_experiment(str(out))
    size = writing.write(str(out))
    html = (out / "report.html").read_bytes()
    assert len(html) == size
    assert sections(html.decode())[-1] == "sensitivity"
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"]["report.html"]["bytes"] == size
    (out / "report.html").unlink()
    writing.write(str(out))
    assert (out / "report.html").read_bytes() == html


def test_a_table_that_is_not_the_manifests_is_refused(out: Path) -> None:
    pl.read_parquet(out / "experiment.parquet").head(1).write_parquet(out / "experiment.parquet")
    with pytest.raises(StorageError, match=r"experiment.parquet is not the file that manifest"):
        writing.write(str(out))
    (out / "experiment.parquet").unlink()
    with pytest.raises(StorageError, match=r"experiment.parquet is missing: run flows.experiment"):
        writing.write(str(out))
    (out / "manifest.json").unlink()
    assert not writing.is_experiment(str(out))
    with pytest.raises(StorageError, match=r"no manifest\.json of an experiment"):
        writing.write(str(out))


def test_a_report_of_somebody_else_is_not_replaced(out: Path) -> None:
    (out / "report.html").write_text("mine")
    with pytest.raises(ConfigError, match="not replaced"):
        writing.write(str(out))
    assert (out / "report.html").read_text() == "mine"


def test_a_page_that_cannot_be_made_loses_nothing(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("what is not there")

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(pages, "SECTIONS", (broken,))
    with pytest.raises(ReportError, match=r"KeyError.*flows.report --out"):
        writing.write(str(out))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_results_that_are_written_anew_have_no_report_of_the_earlier_ones(tmp_path: Path) -> None:
    found = Results(
        cells=SUMMARY["cells"], replicates=3, table=experiment(CELLS),
        comparisons=Comparisons(comparisons([comparison()]), [], 0.25, 3),
        overlaps=overlaps(OVERLAPS), verdicts=["the verdict"], notes=[], left_out=[],
        artifacts={},
        advised=Advised(advice(ADVICE), sensitivity(SENSITIVITY), ["its advice"]),
    )  # fmt: skip
    config = SelectConfig.model_validate({
        "dataset": "zoo.parquet", "heldout": {"share": 0.25}, "out": str(tmp_path / "out"),
        "experiment": CONFIG["experiment"] | {"advisor": {}},
    })  # fmt: skip
    out = tmp_path / "out"
    experiment_files.write(config, found)
    writing.write(config.out)
    first = (out / "report.html").read_text("utf-8")
    assert "its advice" in text(first, "advice")
    assert "74.97 to 89.03" in text(first, "leaderboard"), (
        "the share held out is that of the config"
    )
    experiment_files.write(config, replace(found, advised=None))
    assert sorted(path.name for path in out.iterdir()) == [
        "comparisons.parquet", "experiment.parquet", "manifest.json", "overlaps.parquet",
    ]  # fmt: skip
    writing.write(config.out)
    assert "advice" not in sections((out / "report.html").read_text("utf-8"))
    assert "report.html" in experiment_files.names_of(config)
    without = config.model_copy(update={"report": False})
    assert "report.html" not in experiment_files.names_of(without)


def test_controls_that_were_left_out_are_no_warnings() -> None:
    left = [
        {"controls": ["untuned"], "why": "nothing is trained"},
        {"controls": ["reward", "length"], "why": "not asked for by x"},
    ]
    warning = "control w: left out, by its words"
    said = text(shown(summary=SUMMARY | {"notes": [warning], "left_out": left}), "verdict")
    assert f"Warnings {warning} cells" in said
    assert (
        "Controls left out untuned: nothing is trained; reward, length: not asked for by x" in said
    )


def test_a_stranger_is_told_what_the_crowd_is() -> None:
    crowd = [{"name": n, "family": f, "size": 1} for n, f in (("a", "x"), ("b", "x"), ("c", "y"))]
    student = {"name": "s", "family": "z", "size": 1, "role": "student"}
    said = text(shown(config=CONFIG | {"crowd": [*crowd, student]}), "verdict")
    assert "Crowd 3 models of 2 families; a row keeps the answer of one of them" in said
    assert "Reward models skywork" in said


def test_no_two_numbers_of_a_figure_are_drawn_over_each_other() -> None:
    """Points 5 units apart on a line: a number of two digits is 13 units wide."""
    row = [(200.0 + 5 * i, 100.0, 10 + i, "own") for i in range(8)]
    row[5] = (*row[5][:3], "advised")
    found = labelled(row)
    places = [place for place in found if place is not None]
    assert found[5] is not None, "the advised one has its number"
    assert 0 < len(places) < len(row)
    for i, (x, y) in enumerate(places):
        for other_x, other_y in places[:i]:
            assert abs(x - other_x) >= 2 * DIGIT or abs(y - other_y) >= 9
    apart = labelled([(100.0, 100.0, 1, "own"), (300.0, 200.0, 2, "own")])
    assert apart == [(106.0, 95.0), (306.0, 195.0)]
