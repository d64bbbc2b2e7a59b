"""OUT/figures: the same bytes for the same selection, whatever the names in it."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest
from chain import Chosen, choose
from little import NAMES, REWARD, Row, jsonl, rows
from PIL import Image

from crowdselect_core.errors import ConfigError
from crowdselect_core.export import figure_files
from crowdselect_core.report.figures.data import figure_data
from crowdselect_core.report.figures.files import draw_all, figures_of
from crowdselect_core.report.figures.preview import preview_url
from crowdselect_core.report.figures.style import as_bytes, label
from crowdselect_core.store.names import is_written
from tasks import select as tasks

RENAMED = {
    "ant-1b": "a$x_1$ & <b>",
    "ant-7b": "b\x1b[31m \\frac{1}{2}$",
    "bee-0.5b": "模型 " + "long" * 30,
    "bee-2.5b": "\u202eevil --> ]]> \u0663",
}
CROWD = [
    {"name": RENAMED["ant-1b"], "family": "$ant$", "size": 1},
    {"name": RENAMED["ant-7b"], "family": "$ant$", "size": 7},
    {"name": RENAMED["bee-0.5b"], "family": "bee", "size": -1},
    {"name": RENAMED["bee-2.5b"], "family": "bee", "size": 2.5},
]


def renamed(table: list[Row]) -> list[Row]:
    return [{RENAMED.get(k, k): v for k, v in r.items()} for r in table]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("figures")
    path = jsonl(folder / "z.jsonl", renamed(rows(40)))
    keys = {"crowd": CROWD, "reward_models": [REWARD], "budget": 6, "clusters": 3}
    return choose(folder, dataset=str(path), **keys)


@pytest.fixture(scope="module")
def drawn(made: Chosen) -> dict[str, bytes]:
    return draw_all(figure_data(made.config, made.store, made.inputs))


def test_the_files(drawn: dict[str, bytes]) -> None:
    assert sorted(drawn) == sorted(figure_files.NAMES)
    for name, data in drawn.items():
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG\r\n\x1a\n")
            assert b"Software" not in data
        else:
            assert ET.fromstring(data).tag.endswith("svg")  # noqa: S314 - our own
            assert not re.search(rb"dc:date|Matplotlib v", data)
        assert len(data) < 200_000, name


def test_the_same_bytes_again_whatever_the_users_settings(
    made: Chosen, drawn: dict[str, bytes]
) -> None:
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "text.parse_math": True}):
        data = figure_data(made.config, made.store, made.inputs)
        title, draw = figures_of(data)["mean_scores"]
        again = as_bytes(draw, title)
        assert mpl.rcParams["font.size"] == 30
    assert again == {ending: drawn[f"mean_scores.{ending}"] for ending in ("svg", "png")}


def test_a_preview_is_a_small_picture_of_the_same_shape(drawn: dict[str, bytes]) -> None:
    head, _, data = preview_url(drawn["metrics.png"]).partition(",")
    assert head == "data:image/png;base64"
    small = Image.open(io.BytesIO(base64.b64decode(data)))
    whole = Image.open(io.BytesIO(drawn["metrics.png"]))
    assert small.width == 900
    assert small.height == round(whole.height * 900 / whole.width)
    assert len(data) < 60_000


def test_names_are_drawn_as_they_are() -> None:
    assert label("a$x$") == "a$x$"  # no mathtext: see the settings
    assert label("\x1b[0m\u202e") == "\\x1b[0m\\u202e"
    assert label("模") == "\\u6a21"  # the font has no such glyph
    assert len(label("x" * 1000)) == 36


def test_the_numbers_behind_the_figures(made: Chosen) -> None:
    data = figure_data(made.config, made.store, made.inputs)
    assert data.clusters is not None
    assert data.clusters["chosen"].sum() == 6
    assert data.clusters["eligible"].sum() == len(data.metrics["difficulty"])
    assert data.clusters["share"].to_list() == [2.0, 2.0, 2.0]
    assert sum(data.kept.values()) == 6
    assert set(data.models) == set(RENAMED.values())
    assert len(NAMES) == len(data.means)


def test_without_clusters_and_answers_there_are_fewer(tmp_path: Path) -> None:
    table = [{k: v for k, v in r.items() if k != "instruction"} for r in rows(12)]
    for one in table:
        for name in NAMES:
            one[name] = one[name][REWARD]
    path = jsonl(tmp_path / "s.jsonl", table)
    crowd = [{"name": n, "family": n, "size": 1} for n in NAMES]  # no family has two: no stability
    made = choose(
        tmp_path, dataset={"path": str(path), "format": "scores-wide"}, crowd=crowd,
        reward_models=[REWARD], budget=3, weights="1,1,0",
    )  # fmt: skip
    data = figure_data(made.config, made.store, made.inputs)
    assert not len(data.metrics["stability"])
    found = figures_of(data)
    assert set(found) == {"metrics", "mean_scores", "win_rates", "correlations"}
    title, draw = found["metrics"]
    assert as_bytes(draw, title)["png"]  # the empty metric has a panel that says so


def test_writing_finding_and_removing(made: Chosen, tmp_path: Path) -> None:
    out, wanted = str(tmp_path), figure_files.spec(made.config, made.inputs)
    assert figure_files.find(out, wanted) is None
    files = {"metrics.svg": b"one", "metrics.png": b"two"}
    names = figure_files.write(out, wanted, files)
    assert names == ["figures/metrics.png", "figures/metrics.svg"]
    assert figure_files.find(out, wanted) == names
    (tmp_path / "figures" / "metrics.svg").write_bytes(b"changed")
    assert figure_files.find(out, wanted) is None
    figure_files.write(out, wanted, {"clusters.svg": b"three"})
    here = tmp_path / "figures"
    assert sorted(p.name for p in here.iterdir()) == ["clusters.svg", "figures.json"]
    (here / "mine.svg").write_bytes(b"the user's")
    figure_files.remove(out)
    assert [p.name for p in here.iterdir()] == ["mine.svg"]


def test_a_figure_of_the_users_is_not_replaced(made: Chosen, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "metrics.svg").write_bytes(b"the user's")
    with pytest.raises(ConfigError, match=r"holds metrics\.svg, which no figures\.json"):
        figure_files.check_replaceable(str(tmp_path))


def test_a_figures_json_of_another_program_is_not_replaced(made: Chosen, tmp_path: Path) -> None:
    theirs = tmp_path / "figures" / "figures.json"
    theirs.parent.mkdir()
    theirs.write_text('{"charts": []}')
    wanted = figure_files.spec(made.config, made.inputs)
    with pytest.raises(ConfigError, match=r"holds figures\.json, which no figures\.json"):
        figure_files.write(str(tmp_path), wanted, {"metrics.svg": b"one"})
    assert theirs.read_text() == '{"charts": []}'


def test_a_run_draws_once_and_a_run_without_the_key_removes(
    made: Chosen, drawn: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def draw(data: object) -> dict[str, bytes]:
        calls.append(data)
        return drawn

    monkeypatch.setattr("crowdselect_core.report.figures.files.draw_all", draw)
    config = made.config.model_copy(update={"figures": True, "out": str(tmp_path)})
    names = tasks.figures(config, made.inputs)
    assert names == sorted(f"figures/{name}" for name in drawn)
    assert (tmp_path / "figures" / "metrics.png").read_bytes() == drawn["metrics.png"]
    assert tasks.figures(config, made.inputs) == names
    assert len(calls) == 1
    other = config.model_copy(update={"quota": "proportional"})
    tasks.figures(other, made.inputs)
    assert len(calls) == 2
    assert all(is_written(f"figures/{p.name}") for p in (tmp_path / "figures").iterdir())
    assert tasks.figures(config.model_copy(update={"figures": False}), made.inputs) == []
    assert not (tmp_path / "figures").exists()
