"""The page of a selection: whole, offline, escaped, and written once."""

import base64
import gzip
import json
import re
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose
from little import KEYS, parquet, row, rows

from crowdselect_core.errors import ConfigError, ReportError, StorageError
from crowdselect_core.report.page import page as pages
from crowdselect_core.report.page import writing
from crowdselect_core.report.page.section import PageData, Section

HOSTILE = [
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\x00\x1b[31m",
    "\u202eevil", "\ud7ff\ufeff", "{{ 7 * 7 }} {% raw %}", "<!-- <script>", "'\"&amp;",
    "w" * 10_000,
]  # fmt: skip


class Tags(HTMLParser):
    """The tags of a page, and the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == ("script", {}):
            self.scripts.append(data)
            self.tags.append(("/script", {}))


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def block(html: str, name: str) -> Any:
    found = re.search(rf'id="{name}">([^<]*)<', html)
    assert found is not None, name
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def hostile_rows() -> list[dict[str, Any]]:
    table = rows(60)
    for one, text in zip(table, HOSTILE, strict=False):
        one["uuid"] = f"{one['uuid']} {text[:40]}"
        one["instruction"] = text
        one["ant-1b"]["content"] = text
    return table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Chosen, str]:
    folder = tmp_path_factory.mktemp("report")
    path = parquet(folder / "z.parquet", hostile_rows())
    chosen = choose(folder, dataset=str(path), **KEYS | {"budget": 30, "clusters": 3})
    writing.write(chosen.config, chosen.store, chosen.inputs)
    return chosen, (chosen.out / "report.html").read_text("utf-8")


def test_the_page_has_every_section(made: tuple[Chosen, str]) -> None:
    _, html = made
    names = ["overview", "rows", "reselection", "distributions", "map", "clusters", "crowd",
             "reward-models", "correlations"]  # fmt: skip
    assert re.findall(r'<section id="([\w-]+)"', html) == names
    assert "30 of 60 rows were chosen (50.0 %)" in html


def test_the_page_loads_nothing_and_runs_its_own_script_alone(made: tuple[Chosen, str]) -> None:
    _, html = made
    tags = parsed(html)
    policy = next(a["content"] for t, a in tags.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe-inline", policy)
    [script] = tags.scripts
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
    assert not {t for t, _ in tags.tags} & {"img", "link", "iframe", "object", "embed", "base"}
    assert not [v for _, a in tags.tags for n, v in a.items() if n.startswith("on") or n == "src"]
    links = [a["href"] for t, a in tags.tags if t == "a"]
    assert all(link and link.startswith("#") for link in links)


def test_hostile_texts_are_texts(made: tuple[Chosen, str]) -> None:
    chosen, html = made
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", html)
    assert len(parsed(html).scripts) == 1
    assert "49 " not in re.findall(r"<bdi>([^<]*7 \* 7[^<]*)</bdi>", html)
    told = block(html, "rows-chosen")
    assert [r["id"].split()[0] for r in told["rows"]] == [i.split()[0] for i in chosen.ids]
    ids = "".join(r["id"] for r in told["rows"])
    assert "\x00" not in ids
    assert len(told["rows"][0]["turns"]) == 2


def test_a_row_tells_its_why(made: tuple[Chosen, str]) -> None:
    chosen, html = made
    told, others = block(html, "rows-chosen"), block(html, "rows-others")
    first, ranked = told["rows"][0], chosen.ranking.row(0, named=True)
    assert first["why"] == ranked["reason"]
    assert first["why"].startswith("chosen: rank 1 of 30")
    assert first["q"] == [ranked["difficulty_q"], ranked["separability_q"], ranked["stability_q"]]
    kept = told["models"].index(first["model"])
    text, length = others[0][kept]
    response = chosen.selection["response"][0]
    assert length == len(response)
    assert first["turns"][-1][1:] == [text, length]
    [scores] = told["scores"][0]  # of the one reward model
    assert max(s for s in scores if s is not None) == scores[kept]


def test_every_refused_row_has_its_reason(tmp_path: Path) -> None:
    table = [*rows(20), row(90, [1.0, None, None, None]), row(91, [None] * 4)]
    path = parquet(tmp_path / "z.parquet", table)
    chosen = choose(tmp_path, dataset=str(path), **KEYS)
    writing.write(chosen.config, chosen.store, chosen.inputs)
    html = (chosen.out / "report.html").read_text("utf-8")
    left = block(html, "rows-left")
    assert {r["id"] for r in left["refused"]} >= {"row-090", "row-091"}
    assert all(r["why"].startswith("not eligible: ") for r in left["refused"])
    assert left["missed"][0]["why"].startswith("not chosen: position 6 of")
    assert "<td>fewer scores than min_scores</td>" in html


def test_a_report_that_lies_there_is_found(made: tuple[Chosen, str]) -> None:
    chosen, html = made
    assert writing.find(chosen.config, chosen.inputs) is not None
    place = chosen.out / "report.html"
    before = place.stat().st_mtime_ns
    other = chosen.config.model_copy(update={"workers": 7})
    assert writing.find(other, chosen.inputs) is not None
    assert writing.find(chosen.config, chosen.inputs, texts=False) is not None
    place.write_text(html + " ", "utf-8")
    assert writing.find(chosen.config, chosen.inputs) is None
    place.write_text(html, "utf-8")
    assert place.stat().st_mtime_ns != before


def test_it_is_made_again_from_the_manifest(made: tuple[Chosen, str]) -> None:
    chosen, html = made
    found = writing.selected(str(chosen.out))
    assert found.texts
    writing.write(found.config, chosen.store, found.inputs, texts=found.texts)
    assert (chosen.out / "report.html").read_text("utf-8") == html


def test_an_out_without_a_selection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no manifest\.json of a selection"):
        writing.selected(str(tmp_path))


def test_a_foreign_report_is_not_replaced(tmp_path: Path) -> None:
    chosen = choose(tmp_path, dataset=str(parquet(tmp_path / "z.parquet", rows())), **KEYS)
    (chosen.out / "report.html").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds report\.html, which no manifest"):
        writing.write(chosen.config, chosen.store, chosen.inputs)


def test_a_selection_that_another_run_replaced_gets_no_report(tmp_path: Path) -> None:
    data = str(parquet(tmp_path / "z.parquet", rows()))
    first = choose(tmp_path, dataset=data, **KEYS)
    choose(tmp_path, dataset=data, **KEYS | {"budget": 6})
    assert writing.find(first.config, first.inputs) is None
    assert writing.write(first.config, first.store, first.inputs) is None
    assert not (first.out / "report.html").exists()


def test_a_page_that_cannot_be_made_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = choose(tmp_path, dataset=str(parquet(tmp_path / "z.parquet", rows())), **KEYS)

    def broken(data: PageData, room: int) -> Section:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(writing, "page", lambda data: pages.page(data, [broken]))
    with pytest.raises(ReportError, match=r"ZeroDivisionError: a bug.*the other results are in"):
        writing.write(chosen.config, chosen.store, chosen.inputs)
    assert (chosen.out / "train.jsonl").exists()
    assert chosen.manifest["key"] == json.loads((chosen.out / "manifest.json").read_text())["key"]


def test_what_the_score_is_follows_the_direction(made: tuple[Chosen, str], tmp_path: Path) -> None:
    chosen = choose(tmp_path, dataset=made[0].config.dataset.path, **KEYS | {"direction": "bottom"})
    writing.write(chosen.config, chosen.store, chosen.inputs)
    bottom = (chosen.out / "report.html").read_text("utf-8")
    assert "The score is the sum of these shares" in made[1]
    assert "The score is minus the sum of these shares" in bottom


@pytest.mark.parametrize("method", ["random", "reward", "length"])
def test_a_method_without_weights_has_a_page(tmp_path: Path, method: str) -> None:
    path = parquet(tmp_path / "z.parquet", rows())
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"method": method, "response": "best"})
    writing.write(chosen.config, chosen.store, chosen.inputs)
    html = (chosen.out / "report.html").read_text("utf-8")
    settings = block(html, "reselection-settings")
    assert settings["weights"] is None
    assert "The run's method has no weights." in html
    assert '<section id="map"' not in html  # without clusters there are no embeddings


@pytest.mark.parametrize("texts", [False, True])
def test_of_scores_alone_the_page_shows_no_answers(texts: bool, tmp_path: Path) -> None:
    """No kept answer, no filter by one; rows are ids, or instructions where there are some."""
    table = [
        {"id": one["uuid"], "instruction": one["instruction"],
         **{m: one[m][KEYS["reward_models"][0]] for m in [c["name"] for c in KEYS["crowd"]]}}
        for one in rows(20)
    ]  # fmt: skip
    frame = pl.DataFrame(table, infer_schema_length=None)
    path = tmp_path / "s.csv"
    (frame if texts else frame.drop("instruction")).write_csv(path)
    chosen = choose(tmp_path, dataset=str(path), **KEYS | ({} if texts else {"clusters": 10}))
    writing.write(chosen.config, chosen.store, chosen.inputs)
    html = (chosen.out / "report.html").read_text("utf-8")
    shown = re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert "kept answer" not in shown.lower()
    assert f'data-key="start">{"instruction" if texts else "id"}<' in shown
    assert ("Question" in shown) is texts
    told = "answers" if texts else "instruction texts"
    wanted = [f"no {told} in the data set: selection.parquet has no texts, train.jsonl is not "
              "written"]  # fmt: skip
    if not texts:
        wanted.append("no instruction texts to embed: selecting without clusters, as with "
                      "--clusters 0")  # fmt: skip
    assert chosen.manifest["summary"]["notes"] == wanted
    assert all(note in shown for note in wanted)
