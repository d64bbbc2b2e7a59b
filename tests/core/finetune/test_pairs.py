"""Preference pairs: how rows of a file and of a selection become tokens, and what is refused."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from finetuned import conversation, pair
from tinymodel import smollm_tokenizer

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.finetune.chat_turns import ChatTurns
from crowdselect_core.finetune.pair_rows import (
    PairRows,
    PairTokens,
    file_pairs,
    selected_pairs,
    training_pairs,
)

pytestmark = pytest.mark.model

USER, GOOD, BAD = (
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi."},
    {"role": "assistant", "content": "What?"},
)
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}, [USER]),
        ({"prompt": "Hello", "chosen": "Hi.", "rejected": "What?"}, [USER]),
        ({"prompt": [SYSTEM, USER], "chosen": "Hi.", "rejected": [BAD]}, [SYSTEM, USER]),
        ({"chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),  # the prompt is implicit
        ({"prompt": "Hello", "chosen": [USER, GOOD], "rejected": [USER, BAD]}, [USER]),
        (  # a line of pairs.jsonl whose prompt has more than one turn
            {"prompt": "x", "chosen": "Hi.", "rejected": "What?", "messages": [SYSTEM, USER]},
            [SYSTEM, USER],
        ),
    ],
)
def test_the_shapes_of_a_pair(tmp_path: Path, row: dict[str, Any], prompt: Any) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n" + json.dumps(row) + "\n")
    rows = file_pairs(str(path))
    assert (rows.ids, rows.prompts) == (["line 2"], [prompt])
    assert (rows.chosen, rows.rejected) == (["Hi."], ["What?"])


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, GOOD]},
        {"prompt": [USER], "chosen": [GOOD]},
        {"prompt": [USER], "chosen": [GOOD, USER], "rejected": [BAD]},
        {"prompt": [USER], "chosen": [], "rejected": [BAD]},
        {"prompt": [USER, GOOD], "chosen": [GOOD], "rejected": [BAD]},  # ends in an answer
        {"chosen": "Hi.", "rejected": "What?"},  # no prompt
        {"chosen": [USER, GOOD], "rejected": [SYSTEM, USER, BAD]},  # of two prompts
        {"prompt": 3, "chosen": "Hi.", "rejected": "What?"},
        ["prompt"],
    ],
)
def test_other_lines_are_refused_by_their_number(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair(0)) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(DatasetError, match=r"line 2: expected .*chosen.*rejected"):
        file_pairs(str(path))


def test_pairs_of_a_selection_use_the_whole_prompt() -> None:
    frame = pl.DataFrame({
        "instruction_id": ["a", "b"],
        "prompt": ["Be brief.\n\nHello", "Bye"],
        "chosen": ["Hi.", "See you."],
        "rejected": ["What?", "No."],
        "messages": [[SYSTEM, USER], None],
    })  # fmt: skip
    rows = selected_pairs(frame)
    assert rows.prompts == [[SYSTEM, USER], [{"role": "user", "content": "Bye"}]]
    plain = selected_pairs(frame.drop("messages"))
    assert [p[0]["content"] for p in plain.prompts] == ["Be brief.\n\nHello", "Bye"]
    assert rows.sha256 != plain.sha256
    other = PairRows(["x", "y"], rows.prompts, rows.chosen, rows.rejected)
    assert other.sha256 == rows.sha256  # ids do not count
    turned = PairRows(rows.ids, rows.prompts, rows.rejected, rows.chosen)
    assert turned.sha256 != rows.sha256


def test_an_answer_ends_with_one_end_of_turn() -> None:
    tokenizer = smollm_tokenizer()
    prompt = conversation(0)[:3]  # question, answer, question
    start, chosen = ChatTurns(tokenizer).answer(prompt, "Hi.")
    assert tokenizer.decode(chosen) == "Hi.<|im_end|>"
    asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    assert start == asked


def rows_of(overflow: str, max_length: int, count: int = 6) -> Any:
    config = TrainingConfig(base_model="x", loss="dpo", max_length=max_length, overflow=overflow)  # type: ignore[arg-type]
    given = [pair(n) for n in range(count)]
    texts = [[p[side][0]["content"] for p in given] for side in ("chosen", "rejected")]
    rows = PairRows([str(n) for n in range(count)], [p["prompt"] for p in given], *texts)
    return training_pairs(rows, ChatTurns(smollm_tokenizer()), config)


def test_long_pairs_are_cut_or_left_out_and_counted() -> None:
    whole = rows_of("truncate", 512)
    lengths = [t.longest for t in whole.tokens]
    counted = sum(2 * len(t.prompt) + len(t.chosen) + len(t.rejected) for t in whole.tokens)
    assert (whole.counts["rows"], whole.counts["tokens"]) == (6, counted)
    most = sorted(lengths)[3]
    longer = sum(n > most for n in lengths)
    assert 0 < longer < 6
    cut = rows_of("truncate", most)
    assert (cut.truncated, cut.counts["rows"]) == (longer, 6)
    assert [t.longest for t in cut.tokens] == [min(n, most) for n in lengths]
    left = rows_of("drop", most)
    assert (left.dropped_long, left.counts["rows"]) == (longer, 6 - longer)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"max_length": 8}, r"0 of 6 pairs .* 6 without two answers that differ"),
        ({"max_length": 512, "count": 1}, "1 of 1 pairs"),
        ({"max_length": 512, "count": 0}, "0 of 0 pairs"),
    ],
)
def test_too_few_pairs_are_an_error(keys: Any, expected: str) -> None:
    with pytest.raises(DatasetError, match=expected):
        rows_of("truncate", **keys)


def test_a_pair_that_the_cut_makes_one_text_is_left_out() -> None:
    tokens = PairTokens([1, 2], [3, 4, 5], [3, 4, 6])
    assert tokens.cut(4) == PairTokens([1, 2], [3, 4], [3, 4])
    assert tokens.cut(2) == PairTokens([1, 2], [], [])
    config = TrainingConfig(base_model="x", loss="simpo", max_length=40)
    same = "one two three four five six seven eight nine ten eleven twelve thirteen "
    rows = PairRows(
        ["a", "b", "c"],
        [[USER]] * 3,
        [same + "good", "yes", "yes"],
        [same + "bad", "no", "yes"],
    )
    turns = ChatTurns(smollm_tokenizer())
    with pytest.raises(DatasetError, match="1 of 3 pairs"):
        training_pairs(rows, turns, config)
