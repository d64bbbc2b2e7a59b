"""One odd row changes no other row, and every refusal has its own reason and its line."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from chain import Chosen, choose
from little import KEYS, jsonl, row

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.prompts import read_turns

ASKED = {"role": "user", "content": "Why?"}
COUNT = 8
ODD = 5  # the row that is odd, from 0


def zoo(tmp_path: Path, **columns: Any) -> Chosen:
    """Choose all rows of a zoo whose row ODD has these columns otherwise."""
    table = []
    for number in range(COUNT):
        one = row(number, [number, 1, 2, 3])
        one |= {"input": f"Text {number}.", "system": f"Be brief, {number}."}
        table.append(one | (columns if number == ODD else {}))
    path = jsonl(tmp_path / "z.jsonl", table)
    return choose(tmp_path, dataset=str(path), **KEYS | {"budget": 1.0})


def asked(one: Chosen) -> dict[str, Any]:
    return {i: m[:-1] for i, m in one.selection.select("instruction_id", "messages").iter_rows()}


@pytest.mark.parametrize("name", ["input", "system"])
@pytest.mark.parametrize("odd", [[], [1], ["a"], {}, {"a": 1}, 5, 1.5, True])
def test_a_part_of_a_prompt_that_is_no_text(name: str, odd: Any, tmp_path: Path) -> None:
    calm = asked(zoo(tmp_path / "calm"))
    one = zoo(tmp_path / "odd", **{name: odd})
    del calm[f"row-{ODD:03d}"]
    assert asked(one) == calm
    assert all("Text" in turns[1]["content"] for turns in calm.values())
    assert all(turns[0]["content"].startswith("Be brief") for turns in calm.values())
    (reason,) = one.ranking.filter(~pl.col("eligible"))["reason"]
    part = {"input": "input", "system": "system text"}[name]
    assert reason.startswith(f"not eligible: bad_messages: the row's {part} is ")
    assert sum(one.manifest["summary"]["ineligible"].values()) == 1


@pytest.mark.parametrize("odd", [5, "hello", "{", {"role": "user"}, [5], True, [[]], "null"])
def test_messages_of_another_kind_in_one_row(odd: Any, tmp_path: Path) -> None:
    table = [row(i, [i, 1, 2, 3]) | {"messages": [ASKED]} for i in range(COUNT)]
    for one in table:
        del one["instruction"]
    table[ODD]["messages"] = odd
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 1.0}
    )
    assert len(chosen.ids) == COUNT - 1
    assert f"row-{ODD:03d}" not in chosen.ids
    (reason,) = chosen.manifest["summary"]["ineligible"]
    assert reason.startswith(("bad_messages: ", "no_instruction"))


@pytest.mark.parametrize(
    ("column", "odd", "told"),
    [
        ("uuid", 7, "'uuid' holds text in line 1, a number in line 6, expected text or whole"),
        ("uuid", [1], "'uuid' holds text in line 1, a list in line 6"),
        ("instruction", 7, "'instruction' holds text in line 1, a number in line 6"),
        ("instruction", "half \ud83d", "text with half a character (a lone surrogate) in line 6"),
        ("ant-1b", "text", "'ant-1b' holds an object in line 1, text in line 6"),
    ],
)
def test_a_column_that_every_row_needs_names_the_line(
    column: str, odd: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        zoo(tmp_path, **{column: odd})
    assert told in str(caught.value)


def test_a_lone_surrogate_elsewhere_changes_nothing(tmp_path: Path) -> None:
    calm = zoo(tmp_path / "calm")
    assert zoo(tmp_path / "odd", note="half \ud83d of it").ids == calm.ids
    one = zoo(tmp_path / "input", input="half \ud83d of it")
    (reason,) = one.manifest["summary"]["ineligible"]
    assert reason == "bad_messages: the row's input is no valid UTF-8"


def test_scores_of_true_and_false_are_1_and_0(tmp_path: Path) -> None:
    table = [row(i, [True, False, True, i]) for i in range(4)]  # type: ignore[list-item]
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {"budget": 1.0}
    )
    first = chosen.stored("scores").select(pl.col("^.*ant-.*$")).row(0)
    assert first[:2] == (1.0, 0.0)


def test_repeated_prompts_of_instructions_alone_are_one(tmp_path: Path) -> None:
    lines = [{"instruction": f"Q{i % 3}", "source": i} for i in range(7)]
    config = DatasetConfig(path=str(jsonl(tmp_path / "i.jsonl", lines)))
    dataset = Dataset(open_reader(config), config, [], [])
    assert dataset.is_unanswered
    assert dataset.prompt_line() == "instruction"


@pytest.mark.parametrize(
    ("turns", "texts"),
    [
        ([{"role": "developer", "content": "D"}, ASKED], ["D", "Why?"]),
        ([{"role": "system", "content": None}, ASKED], ["Why?"]),
        ([{"from": "system", "value": None}, {"from": "human", "value": "Why?"}], ["Why?"]),
        ([{"role": None, "content": None, "from": "human", "value": "Why?"}], ["Why?"]),
        ([{"from": None, "value": None, "role": "user", "content": "Why?"}], ["Why?"]),
        ([{"role": "user", "content": [{"type": "text", "text": "Wh"},
                                       {"type": "text", "text": "y?"}]}], ["Why?"]),
        (json.dumps([ASKED]), ["Why?"]),
    ],
)  # fmt: skip
def test_turns_as_people_have_them(turns: Any, texts: list[str]) -> None:
    prompt = read_turns(turns)
    assert prompt.error is None
    assert [m["content"] for m in prompt.messages] == texts
    assert prompt.messages[0]["role"] == ("system" if len(texts) == 2 else "user")


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
         "turn 1 has a part of the type image_url and no text"),
        ([{"role": "tool", "content": "x"}], "turn 1 has the unknown role tool"),
        ([ASKED, {"role": "assistant", "content": None}, ASKED],
         "turn 2 has content that is no text"),
        ("hello", "the row holds no list of turns, but text"),
        (5, "the row holds no list of turns, but a number"),
    ],
)  # fmt: skip
def test_turns_that_are_refused_say_why(turns: Any, told: str) -> None:
    assert told in str(read_turns(turns).error)


def test_an_unknown_finish_reason_is_counted_and_shown(tmp_path: Path) -> None:
    table = [row(i, [i, 1, 2, 9]) for i in range(4)]
    for one in table:
        one["bee-2.5b"]["finish_reason"] = "because"
    table[0]["bee-2.5b"]["finish_reason"] = "MAX_TOKENS"
    table[1]["bee-2.5b"]["finish_reason"] = "abort"
    chosen = choose(
        tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)),
        **KEYS | {"budget": 1.0, "response": ["bee-2.5b", "ant-1b"]},
    )  # fmt: skip
    kept = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
    assert kept == {
        "row-000": "ant-1b", "row-001": "ant-1b", "row-002": "bee-2.5b", "row-003": "bee-2.5b",
    }  # fmt: skip
    chosen = choose(
        tmp_path / "2", dataset=chosen.config.dataset.path,
        **KEYS | {"budget": 1.0, "response": "bee-2.5b"},
    )  # fmt: skip
    assert chosen.selection.height == 2
    assert any("2 answers have the unknown 'finish reason because'" in n
               for n in chosen.manifest["summary"]["notes"])  # fmt: skip


@pytest.mark.parametrize("name", ["instruction", "prompt"])
@pytest.mark.parametrize("place", [0, ODD])
def test_a_list_among_the_instructions_is_refused_by_its_line(
    name: str, place: int, tmp_path: Path
) -> None:
    """Neither is the column taken for turns, which no other row has, nor the row passed over."""
    table = [{name: f"Question {i}?"} for i in range(COUNT)]
    odd: list[dict[str, Any]] = [*table]
    odd[place] = {name: [ASKED]}
    config = DatasetConfig(path=str(jsonl(tmp_path / "d.jsonl", odd)))
    with pytest.raises(DatasetError, match=f"'{name}' holds .*a list in line {place + 1}"):
        _ = Dataset(open_reader(config), config, [], []).layout
