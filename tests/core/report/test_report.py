"""What a run tells at its end: hostile texts are shown as they are, and do nothing."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from chain import Chosen, choose
from hypothesis import example, given
from hypothesis import strategies as st
from little import KEYS, NAMES, REWARD, Row, jsonl, parquet, row, rows
from markdown_it import MarkdownIt

from crowdselect_core.report.text import as_markdown, as_rows, as_text, markdown_text, one_line

HOSTILE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "| pipe | row |\n|---|---|",
    "`code` ``` fence", "[link](javascript:alert(1))", "![image](http://x.invalid/y.png)",
    "http://x.invalid <http://y.invalid>", "# title\n- item\n1. one\n> quote\n---", "!!",
    "**b** __u__ ~~s~~", "\x1b[31mred\x1b]0;title\x07", "nul\x00", "a\u2028b\u2029c\u0085d",
    "\u202eevil", "\ud7ff\ufeff", "&lt;already&gt; &amp; &#x27;", "don't \"quote\"",
    "\\ backslash \\| ", "$x$ :smile: {{t}}", "\t\n  ", "x" * 10_000, "é" * 500, "<" * 200,
    "a" * 69 + "<<<<",
]  # fmt: skip
RENDER = MarkdownIt("gfm-like", {"html": True, "linkify": False})


def rendered(markdown: str) -> str:
    """Return the text a browser shows of the HTML that Markdown makes; anything but text fails."""
    made = RENDER.render(markdown)
    tags = set(re.findall(r"<(/?[a-z0-9]+)[^>]*>", made))
    assert tags <= {"table", "thead", "tbody", "tr", "td", "th", "/table", "/thead", "/tbody",
                    "/tr", "/td", "/th"}, made  # fmt: skip
    cells = re.findall(r"<td>(.*?)</td>", made, flags=re.DOTALL)
    assert len(cells) == 1
    return html.unescape(cells[0])


@given(st.text(max_size=200))
@example("a" * 71 + "&")
@example("\\|")
@example("a|b")
def test_markdown_shows_any_text_as_it_is(text: str) -> None:
    shown = rendered(f"| x |\n|---|\n| {markdown_text(text)} |")
    assert shown == one_line(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_hostile_texts_as_they_are(text: str) -> None:
    assert rendered(f"| x |\n|---|\n| {markdown_text(text)} |") == one_line(text)
    assert rendered(f"| x |\n|---|\n| {markdown_text(text, 400)} |") == one_line(text, 400)


@given(st.text(), st.integers(10, 80))
def test_one_line_is_one_line(text: str, width: int) -> None:
    shown = one_line(text, width)
    assert len(shown) <= width
    assert shown.isprintable()


def test_one_line_by_hand() -> None:
    assert one_line(None) == ""
    assert one_line("two\n lines\tand   gaps") == "two lines and gaps"
    assert one_line("\x1b[0m\x00é🦙") == "\\x1b[0m\\x00é🦙"
    assert one_line("abcdefghijk", 10) == "abcdefg..."
    assert one_line("abcdefghij", 10) == "abcdefghij"
    assert one_line("\u202eabc") == "\\u202eabc"


def hostile_rows() -> list[Row]:
    table = rows(40)
    for one, text in zip(table, HOSTILE, strict=False):
        one["uuid"] = f"{one['uuid']} {text}"
        one["instruction"] = text
    return table


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("hostile")
    path = parquet(folder / "z.parquet", hostile_rows())
    return choose(folder, dataset=str(path), export="pairs", **KEYS | {"budget": 20})


STAGES = [
    {"stage": "scores", "rows": 40, "cached": True, "seconds": 0.01},
    {"stage": "metrics", "rows": 40, "cached": False, "seconds": 1.26},
]


def test_the_closing_summary_for_a_terminal(hostile: Chosen) -> None:
    text = as_text(hostile.manifest["summary"], STAGES, ["out/train.jsonl"])
    assert all(line.isprintable() for line in text.split("\n"))
    assert max(map(len, text.split("\n"))) <= 410
    facts = dict(line.split(None, 1) for line in text.split("\n")[:12])
    summary = hostile.manifest["summary"]
    assert facts["rows"] == f"in    40, {summary['missing_scores']} scores missing"
    assert facts["eligible"] == str(summary["eligible"])
    assert facts["chosen"] == "20 by crowdselect"
    assert facts["pairs"] == f"{summary['pairs']} ({20 - summary['pairs']} chosen rows have none)"
    assert facts["seconds"] == "scores 0.0 (cached), metrics 1.3"
    assert facts["files"] == "out/train.jsonl"


def test_the_report_of_hostile_rows_has_no_markup_of_theirs(hostile: Chosen) -> None:
    made = RENDER.render(as_markdown(hostile.manifest["summary"], STAGES, ["s3://b/out|x"]))
    assert not re.search(r"<(script|img|a|code|pre|del|blockquote|hr)\b", made)
    assert set(re.findall(r"<h(\d)>", made)) == {"1", "2"}
    assert "s3://b/out|x" in html.unescape(re.sub(r"<[^>]+>", "", made))


def test_the_table_of_hostile_rows_has_no_markup_of_theirs(hostile: Chosen) -> None:
    """The Prefect UI shows every text of a table as Markdown."""
    table = as_rows(hostile.selection)
    assert any("image" in shown["instruction"] for shown in table)
    for shown in table:
        for name in ("instruction", "response", "model", "instruction_id"):
            made = RENDER.render(shown[name])
            assert not re.search(r"<(?!/?p>)[a-z]", made), made


def test_long_lists_of_reasons_are_not_cut_short() -> None:
    summary: dict[str, Any] = {
        "method": "crowdselect", "rows_in": 1234, "duplicate_rows": 1000, "missing_scores": 2000,
        "eligible": 30,
        "ineligible": {"excluded": 1, "no_answer": 2, "no_instruction": 3, "no_stability": 4,
                       "too_few_scores": 1194},
        "clusters": [3, 4, 1], "chosen": 8, "without_pair": 0, "pairs": 0, "student": None,
        "cost": {"answers": 1234, "models": 1, "scores": 0, "annotated": 9, "crowd": 12340},
        "overlaps": [{"baseline": "random", "rows": 8, "overlap": 2, "by_chance": 2.13333}],
        "agreement": [{"of": ["a|b", "c"], "rows": 9, "rho": -0.5},
                      {"of": ["a", "d"], "rows": 1, "rho": None}],
        "notes": ["stability is coarse"],
        "changes": {"came": 3, "went": 2, "stayed": 5},
        "shown": {"chosen": [{"instruction_id": "i\x00", "instruction": " ", "why": "chosen: x"}],
                  "not_chosen": []},
    }  # fmt: skip
    text = as_text(summary, [], [])
    ineligible = (
        "1,204: 1 in the exclude list, 2 no complete answer, 3 no instruction text, 4 no family "
        "has 2 scored models that differ, so no stability, 1194 fewer scores than min_scores"
    )
    assert f"ineligible {ineligible}\n" in text
    assert "rows in    1,234 (1,000 duplicates), 2,000 scores missing\n" in text
    cost = "needs 1,234 answers of 1 model (10.0% of the whole crowd's 12,340), 9 rows read by"
    assert f"cost       {cost} the method's model\n" in text
    assert "clusters   3 with chosen rows, 1 to 4 each\n" in text
    even = as_text(summary | {"clusters": [2, 2]}, [], [])
    assert "clusters   2 with chosen rows, 2 each\n" in even
    assert "overlap    2 of 8 with random (2.1 expected by chance)\n" in text
    assert "changes    3 rows added, 2 removed, 5 retained since the previous selection\n" in text
    assert "note       stability is coarse\n" in text
    assert "agreement  a|b and c: rank correlation of difficulty -0.50\n" in text
    assert "agreement  a and d: rank correlation of difficulty undefined\n" in text
    assert "  i\\x00\n    chosen: x" in text  # a blank instruction is named by its id
    markdown = html.unescape(re.sub(r"<[^>]+>", "\n", RENDER.render(as_markdown(summary, [], []))))
    assert ineligible in markdown
    assert "i\\x00" in markdown


def test_the_summary_counts(tmp_path: Path) -> None:
    """4 of 6 rows eligible: one has no answer, one no score; row 0 stands twice."""
    table = [row(i, [i % 3, 2, 3, 4 + i]) for i in range(4)]
    table.append(row(4, [1, 2, 3, 4], **dict.fromkeys(NAMES, "")))
    table.append(row(5, [None] * 4))
    table.append(table[0])
    path = str(jsonl(tmp_path / "z.jsonl", table))
    chosen = choose(tmp_path, dataset=path, **KEYS | {"budget": 3})
    summary = chosen.manifest["summary"]
    assert {k: summary[k] for k in ("rows_in", "duplicate_rows", "missing_scores", "eligible")} == {
        "rows_in": 7, "duplicate_rows": 1, "missing_scores": 4, "eligible": 4,
    }  # fmt: skip
    assert summary["ineligible"] == {"no_answer": 1, "too_few_scores": 1}
    assert summary["chosen"] == 3
    assert summary["changes"] is None
    baselines = ["random", "top reward", "longest answer"]
    assert [o["baseline"] for o in summary["overlaps"]] == baselines
    told = {"answers": 24, "models": 4, "scores": 24, "annotated": 0, "crowd": 24}
    assert summary["cost"] == told  # 7 rows in, of which one repeats: 6 x 4
    assert [o["by_chance"] for o in summary["overlaps"]] == [3 * 3 / 4] * 3
    assert [r["instruction_id"] for r in summary["shown"]["chosen"]] == chosen.ids
    misses = [r["instruction_id"] for r in summary["shown"]["not_chosen"]]
    assert misses == chosen.ranking.filter(~chosen.ranking["selected"])["instruction_id"].to_list()


def test_all_rows_chosen_leaves_none_to_show(tmp_path: Path) -> None:
    table = [row(i, [i, 2, 3, 4]) for i in range(4)]
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 1.0}
    )
    assert chosen.manifest["summary"]["shown"]["not_chosen"] == []
    assert "not chosen" not in as_text(chosen.manifest["summary"], STAGES, [])


def test_what_changed_since_the_selection_before(tmp_path: Path) -> None:
    """Budget 3, then 5 of the same ranking: two came. Then without the best: one went, one came."""
    path = str(jsonl(tmp_path / "z.jsonl", rows(20)))
    first = choose(tmp_path, dataset=path, **KEYS | {"budget": 3})
    best = first.ids[0]
    more = choose(tmp_path, dataset=path, **KEYS | {"budget": 5})
    five = set(more.ids)
    assert more.manifest["summary"]["changes"] == {"came": 2, "went": 0, "stayed": 3}
    (tmp_path / "not.txt").write_text(f"{best}\n")
    other = choose(tmp_path, dataset=path, exclude=str(tmp_path / "not.txt"), **KEYS)
    changes = other.manifest["summary"]["changes"]
    gone = len(five - set(other.ids))
    assert gone >= 1
    assert changes == {"came": gone, "went": gone, "stayed": 5 - gone}
    assert best not in other.ids
    reason = other.ranking.filter(other.ranking["instruction_id"] == best)["reason"].item()
    assert reason == "not eligible: in the exclude list"


def test_two_reward_models_tell_how_far_they_agree(tmp_path: Path) -> None:
    """Difficulties by r1: -2, -3, -4; by r2: 2, 1, -9: the same order, so rho is 1."""
    table = []
    for number, (one, two) in enumerate([(2, -2), (3, -1), (4, 9)]):
        made = row(number, [one] * 4)
        for place, name in enumerate(NAMES):
            made[name][REWARD] = one + (place - 1.5)
            made[name]["r2"] = two + (place - 1.5) * 2
        table.append(made)
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)),
                    **KEYS | {"reward_models": ["r2", REWARD], "budget": 2})  # fmt: skip
    assert chosen.manifest["summary"]["agreement"] == [
        {"of": [REWARD, "r2"], "rows": 3, "rho": 1.0}
    ]
