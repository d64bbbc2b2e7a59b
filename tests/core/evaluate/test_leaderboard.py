"""The leaderboard's table, its file, its text; and what the command is told."""

from pathlib import Path

import polars as pl
import pytest
from judged import board, compared, graded, paired, write_rows

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError, EvaluationError
from crowdselect_core.evaluate import leaderboard
from crowdselect_core.report.leaderboard import as_lines, as_markdown
from flows import options

HOSTILE = "<script>|x|\x1b[31m`*[a](b)"


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    rows = [graded("m", 81, 1, 8), graded("m", 82, 1, -1), graded("n", 81, 1, 9)]
    write_rows(tmp_path / "in" / "gpt-4_single.jsonl", rows)
    write_rows(tmp_path / "in" / "gpt-4_pair.jsonl", [paired(("m", "n"), 81, "tie", "tie")])
    return tmp_path / "in"


def test_the_table_has_the_promised_columns_in_order(judged: Path) -> None:
    table = board(judged, "mt-bench").table
    assert table.schema == pl.Schema(leaderboard.COLUMNS)
    assert table["benchmark"].unique().to_list() == ["mt-bench"]
    lines = table.select("metric", "model").rows()
    assert lines == [
        ("turn_1", "n"), ("turn_1", "m"), ("average", "n"), ("average", "m"),
        ("win_rate", "m"), ("win_rate", "n"), ("loss_rate", "m"), ("loss_rate", "n"),
        ("win_rate_adjusted", "m"), ("win_rate_adjusted", "n"),
    ]  # fmt: skip


def test_a_leaderboard_takes_the_place_of_an_earlier_one(judged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = board(judged, "mt-bench").table
    for part in (table, table.head(2)):
        leaderboard.write(str(out), part)
        assert pl.read_parquet(out / "leaderboard.parquet").equals(part)
    assert [p.name for p in out.iterdir()] == ["leaderboard.parquet"]


@pytest.mark.parametrize("content", ["text", "another table"])
def test_a_file_that_is_not_ours_stays(judged: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "out" / "leaderboard.parquet"
    file.parent.mkdir()
    if content == "text":
        file.write_text("my notes")
    else:
        pl.DataFrame({"benchmark": ["x"], "value": [1.0]}).write_parquet(file)
    before = file.read_bytes()
    table = board(judged, "mt-bench").table
    for call in (leaderboard.check_out, lambda out: leaderboard.write(out, table)):
        with pytest.raises(
            EvaluationError, match="not written by an evaluation and is not overwritten"
        ):
            call(str(file.parent))
    assert file.read_bytes() == before


def test_the_text_shows_what_holds_over_all_categories(judged: Path) -> None:
    write_rows(judged / "question.jsonl", [{"question_id": q, "category": "writing"}
                                           for q in (81, 82)])  # fmt: skip
    found = board(judged, "mt-bench")
    lines = as_lines(found.table, found.notes)
    assert lines[0].split() == ["benchmark", "metric", "category", "model", "judge", "value", "95",
                                "%", "interval", "n", "unparsed"]  # fmt: skip
    assert lines[2].split() == ["mt-bench", "turn_1", "all", "m", "gpt-4", "8.000", "8.000", "-",
                                "8.000", "1", "1"]  # fmt: skip
    assert "the results by category stand in leaderboard.parquet" in lines
    assert any(line.startswith("note: m: 1 of 2 verdicts") for line in lines)
    assert not any("writing" in line for line in lines)
    assert "| writing |" in as_markdown(found.table, found.notes)
    assert "official interval" in as_lines(found.table, [], official=True)[0]


def test_names_from_files_are_shown_as_text(tmp_path: Path) -> None:
    rows = [compared(HOSTILE, f"q{i}", "A>B", None, judge=HOSTILE) for i in range(3)]
    found = board(write_rows(tmp_path / "m.jsonl", rows), "arena-hard")
    text = "\n".join(as_lines(found.table, found.notes))
    assert all(c.isprintable() or c == "\n" for c in text)
    markdown = as_markdown(found.table, found.notes)
    assert not set(markdown) & {"<", "\x1b", "`" * 2}
    assert "&lt;script&gt;\\|x\\|" in markdown
    for line in markdown.splitlines()[2:4]:
        assert line.replace("\\|", "").count("|") == 10, "no cell of its own making"


def test_the_flags_of_the_command(tmp_path: Path) -> None:
    words = ["--judgments", "j", "--benchmark", "arena-hard", "--baseline", "b", "--official",
             "--out", "o", "--seed", "3", "--questions", "q", "--style", "s"]  # fmt: skip
    _, flags = options.parse(words, "evaluate")
    config = load(None, flags, {}, "evaluate")
    assert config == EvaluateConfig(
        judgments="j", benchmark="arena-hard", baseline="b", official=True, out="o", seed=3,
        questions="q", style="s",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="did you mean --judgments"):
        options.parse(["--judgment", "j"], "evaluate")


def test_one_file_and_environment_serve_all_flows(tmp_path: Path) -> None:
    file = tmp_path / "live.yaml"
    file.write_text("dataset: data.jsonl\nbudget: 10\njudgments: j\nbenchmark: mt-bench\nout: a\n")
    environ = {"CROWDSELECT_OUT": "b", "CROWDSELECT_DATASET__PATH": "x", "CROWDSELECT_SEED": "4"}
    config = load(str(file), {"seed": "5"}, environ, "evaluate")
    assert (config.judgments, config.out, config.seed) == ("j", "b", 5)
    file.write_text("judgement: j\n")
    with pytest.raises(ConfigError, match="unknown key 'judgement', did you mean 'judgments'"):
        load(str(file), {}, {}, "evaluate")


REFUSED = [
    ({}, "evaluation.benchmarks is missing"),
    ({"judgments": "j"}, "pass --benchmark mt-bench, arena-hard or pairwise"),
    ({"judgments": "j", "benchmark": "mtbench"}, "found 'mtbench', did you mean 'mt-bench'"),
    (
        {"judgments": "j", "benchmark": "mt-bench", "model": "m"},
        "model: nobody is asked where judg",
    ),
    ({"judgments": "j", "benchmark": "mt-bench", "style": "s"}, "style control is a part of arena"),
    ({"judgments": "s3://me:pass@b/x", "benchmark": "mt-bench"}, "carries credentials"),
]


@pytest.mark.parametrize(("keys", "why"), REFUSED)
def test_a_config_that_cannot_be(keys: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, keys, {}, "evaluate")
    assert why in str(caught.value)
    assert "pass@" not in str(caught.value)
