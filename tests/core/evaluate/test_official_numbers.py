"""The numbers of the official scripts, from the same files."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from judged import board, cells, write_rows

DATA = Path(__file__).parents[4] / "shared" / "data"
JUDGMENTS = DATA / "judgments"
MT_BENCH, ARENA, KO = (JUDGMENTS / n for n in ("mt_bench", "arena_hard_v0.1", "ko_arena_hard"))
CONTROLLED = "win_rate_style_controlled"
pytestmark = pytest.mark.skipif(
    not (JUDGMENTS / "README.md").exists(), reason="../shared/data/judgments is not here"
)


def expected(folder: Path, name: str = "expected.json") -> Any:
    return json.loads((folder / name).read_text("utf-8"))


def test_mt_bench_is_fastchats() -> None:
    found = cells(board(MT_BENCH, "mt-bench"), "value", "low", "high")
    theirs = expected(MT_BENCH)
    [single, pair] = theirs.values()
    for metric, name in (("turn_1", "turn1"), ("turn_2", "turn2"), ("average", "average")):
        for model, score in single[name].items():
            assert found[metric, model][0] == pytest.approx(score, abs=1e-9)
    for model, numbers in pair["pairwise-all"].items():
        for metric in ("win_rate", "loss_rate", "win_rate_adjusted"):
            assert found[metric, model][0] == pytest.approx(numbers[metric], abs=5e-7)
    for value, low, high in found.values():
        assert low < value < high


def test_mt_bench_by_category_adds_up() -> None:
    questions = str(DATA / "mt_bench" / "question.jsonl")
    table = board(MT_BENCH, "mt-bench", questions=questions).table
    average = table.filter(pl.col("metric") == "average", pl.col("category").is_not_null())
    assert average.height == 8
    assert average["n"].to_list() == [20] * 8
    assert average["value"].mean() == pytest.approx(8.2)


def test_arena_hard_v01_is_the_official_one() -> None:
    theirs = expected(ARENA)["official v0.1 show_result (commit 0489bf3), run here"]
    ours = cells(board(ARENA, "arena-hard"), "value")
    official = cells(board(ARENA, "arena-hard", official=True), "value", "low", "high")
    for model, (score, below, above) in theirs.items():
        assert round(ours["win_rate", model], 1) == score
        value, low, high = (round(number, 2) for number in official["win_rate", model])
        assert (round(value, 1), round(low - value, 1), round(high - value, 1)) == (
            score, pytest.approx(below), pytest.approx(above),
        )  # fmt: skip


def nine_models(folder: Path) -> tuple[Path, Any]:
    """Copy the judgments of nine models, of which the official script's results are there."""
    theirs = expected(KO, "expected_official_v0.1_9models.json")
    target = folder / "model_judgment" / "ensemble"
    target.mkdir(parents=True)
    for model in theirs["no_control"]:
        shutil.copy(KO / "model_judgment" / "ensemble" / f"{model}.jsonl", target)
    shutil.copy(KO / "conv_metadata.parquet", folder)
    return folder, theirs


def test_style_control_of_v01_is_the_official_one(tmp_path: Path) -> None:
    folder, theirs = nine_models(tmp_path)
    found = cells(board(folder, "arena-hard", baseline="claude-3.7-sonnet"), "value", "low", "high")
    for model, numbers in theirs["no_control"].items():
        assert found["win_rate", model][0] == pytest.approx(numbers["score"], abs=0.005001)
    for model, numbers in theirs["style_control"]["models"].items():
        value, low, high = found[CONTROLLED, model]
        assert value == pytest.approx(numbers["score"], abs=0.005001)
        assert low <= value <= high


def test_official_intervals_of_v01_are_near_the_scripts(tmp_path: Path) -> None:
    """Theirs depend on the order in which a file system lists the files: 100 other draws."""
    folder, theirs = nine_models(tmp_path)
    keys = {"baseline": "claude-3.7-sonnet", "official": True}
    found = cells(board(folder, "arena-hard", **keys), "low", "high")
    ours = cells(board(folder, "arena-hard", baseline="claude-3.7-sonnet"), "low", "high")
    widths = []
    for metric, numbers in (
        ("win_rate", theirs["no_control"]), (CONTROLLED, theirs["style_control"]["models"])
    ):  # fmt: skip
        for model, bounds in numbers.items():
            assert found[metric, model] == pytest.approx(
                (bounds["lower"], bounds["upper"]), abs=0.8
            )
            (low, high), (our_low, our_high) = found[metric, model], ours[metric, model]
            widths.append((high - low, our_high - our_low))
    assert sum(narrow for narrow, _ in widths) < 0.7 * sum(wide for _, wide in widths)


def test_the_published_leaderboard_of_the_korean_fork() -> None:
    found = cells(board(KO, "arena-hard", baseline="claude-3.7-sonnet"), "value", "unparsed")
    published = pl.read_csv(KO / "leaderboard_no_control.csv")
    off = {}
    for model, score in published.select("model", "score").iter_rows():
        value, unparsed = found["win_rate", model]
        if abs(value - score) > 0.005001:
            off[model] = (round(abs(value - score), 2), unparsed)
    assert off == {"o4-mini-high": (0.05, 1)}, "of a row with a single game"


@pytest.fixture
def as_v2(tmp_path: Path) -> Path:
    """The judgments of v0.1 as v2 lays them out, with its answers' metadata."""
    for file in sorted(ARENA.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_bytes().split(b"\n") if line]
        for row in rows:
            row["uid"] = row.pop("question_id")
            row["category"], row["baseline"] = "arena-hard-v0.1", "gpt-4-0314"
        write_rows(tmp_path / "model_judgment" / "judge" / file.name, rows)
    counts = pl.read_parquet(ARENA / "style_metadata.parquet")
    for (model,), part in counts.group_by("model"):
        answers = [
            {"uid": row["question_id"], "model": row["model"], "metadata": {
                "token_len": row["token_len"],
                "header_count": {f"h{i}": row[f"h{i}"] for i in range(1, 7)},
                "list_count": {"ordered": row["ordered"], "unordered": row["unordered"]},
                "bold_count": {"**": row["bold_star"], "__": row["bold_under"]}}}
            for row in part.iter_rows(named=True)
        ]  # fmt: skip
        write_rows(tmp_path / "model_answer" / f"{model}.jsonl", answers)
    return tmp_path


@pytest.mark.parametrize("official", [False, True])
def test_arena_hard_v2_is_within_its_noise(as_v2: Path, official: bool) -> None:
    [theirs] = [v for k, v in expected(ARENA).items() if k.startswith("official v2")]
    found = cells(board(as_v2, "arena-hard", official=official), "value", "low", "high")
    for metric, name in (("win_rate", "plain"), (CONTROLLED, "length markdown")):
        for model in ("gpt-4-0613", "gpt-3.5-turbo-0125"):
            score, below, above = theirs[name][model]
            value, low, high = found[metric, model]
            assert value == pytest.approx(score, abs=0.3)
            if official:
                assert (low - value, high - value) == pytest.approx((below, above), abs=0.5)
