"""Texts and answers: any Unicode passes through; what counts as an answer, and what does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import choose
from datasets import load_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from little import CROWD, KEYS, NAMES, REWARD, jsonl, parquet, row

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.values import SPACE

HOSTILE = [
    "nul \x00 inside", "line\u2028separator\u2029paragraph\u0085next", "tab\t feed\x0c vt\x0b",
    "cr\rlf\r\nlf\n", "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd", "🦙🏽‍💻 \U0010ffff",
    "<script>alert('x')</script> & \"quotes\"", '{"role": "system", "content": "obey"}',
    "| a | b |\n|---|---|", "```python\nprint('x')\n```", "<|im_start|>system\n<|im_end|>",
    "\\n \\u0000 \\", "e\u0301 vs \u00e9", "\ufeffbom", "\ufffe\uffff", "  spaces kept  ", "$x^2$",
    "=cmd|' /C calc'!A0", "null", "x" * 100_000, "\x1b[31mred\x1b[0m", "\ud7ff\ue000",
]  # fmt: skip


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_any_text_passes_through_to_the_training_file(container: str, tmp_path: Path) -> None:
    table = [row(i, [1, 2, 3, 4], instruction=t, **{"bee-2.5b": t[::-1] + "."})
             for i, t in enumerate(HOSTILE)]  # fmt: skip
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, table)
    chosen = choose(tmp_path, dataset=str(path), export=["sharegpt", "alpaca"],
                    **KEYS | {"budget": len(HOSTILE)})  # fmt: skip
    wanted = sorted((t, t[::-1] + ".") for t in HOSTILE)

    lines = chosen.lines("train.jsonl")
    assert [list(one) for one in lines] == [["messages"]] * len(HOSTILE)
    assert all([m["role"] for m in one["messages"]] == ["user", "assistant"] for one in lines)
    assert sorted((u["content"], a["content"]) for u, a in (o["messages"] for o in lines)) == wanted

    cache = str(tmp_path / "cache")
    read = load_dataset(
        "json", data_files=str(chosen.out / "train.jsonl"), cache_dir=cache, split="train"
    )
    assert sorted((u["content"], a["content"]) for u, a in read["messages"]) == wanted
    alpaca = load_dataset(
        "json", data_files=str(chosen.out / "alpaca.jsonl"), cache_dir=cache, split="train"
    )
    assert sorted(zip(alpaca["instruction"], alpaca["output"], strict=True)) == wanted
    assert sorted(map(tuple, chosen.selection.select("response").iter_rows())) == sorted(
        (answer,) for _, answer in wanted
    )


@settings(max_examples=10)
@given(texts=st.lists(st.text(min_size=1).filter(str.strip), min_size=3, max_size=40))
def test_any_text_at_all(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("text")
    table = [row(i, [1, 2, 3, 4], instruction=t, **{"bee-2.5b": t}) for i, t in enumerate(texts)]
    chosen = choose(folder, dataset=str(jsonl(folder / "z.jsonl", table)),
                    **KEYS | {"budget": len(texts)})  # fmt: skip
    found = [[m["content"] for m in one["messages"]] for one in chosen.lines("train.jsonl")]
    assert sorted(found) == sorted([t, t] for t in texts)


def opened(path: Path) -> Dataset:
    config = DatasetConfig(path=str(path))
    return Dataset(open_reader(config), config, [CrowdModel(**m) for m in CROWD], [REWARD])


def test_what_is_white_space_here_is_white_space_there(tmp_path: Path) -> None:
    """Eligibility asks polars whether an answer is empty, the kept answer str.strip; both agree."""
    signs = [chr(i) for i in range(0x11000) if not 0xD800 <= i < 0xE000]
    table = [row(i, [1, 2, 3, 4], **{"ant-1b": f" {s}\n"}) for i, s in enumerate(signs)
             if s.isspace() or i % 97 == 0 or 0x2000 <= i < 0x2070]  # fmt: skip
    dataset = opened(parquet(tmp_path / "z.parquet", table))
    [part] = dataset.partitions(10**6)
    found = dataset.complete(part, "ant-1b").tolist()
    assert found == [bool(one["ant-1b"]["content"].strip()) for one in table]
    assert found.count(False) == len(SPACE) == 29


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
@pytest.mark.parametrize("blank", ["", None, " ", "\n\t", "\u3000\u00a0", "\x1c\x1f"])
def test_an_empty_answer_is_never_kept_but_its_score_counts(
    blank: str | None, container: str, tmp_path: Path
) -> None:
    """Row 0: the best answer is empty. Row 1: all are. Row 2: none is.

    Difficulty of rows 0 and 1 is -(1+2+3+4)/4 = -2.5: the scores of empty answers count.
    """
    table = [
        row(0, [1, 2, 3, 4], **{"bee-2.5b": blank}),
        row(1, [1, 2, 3, 4], **dict.fromkeys(NAMES, blank)),
        row(2, [4, 3, 2, 1]),
    ]
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, table)
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"budget": 2})
    kept = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
    assert kept == {"row-000": "bee-0.5b", "row-002": "ant-1b"}
    metrics = chosen.stored("metrics")
    assert metrics["difficulty"].to_list() == [-2.5, -2.5, -2.5]
    assert metrics["n_scores"].to_list() == [4, 4, 4]
    assert chosen.stored("ranking")["reason"].to_list() == [None, "no_answer", None]
    assert chosen.manifest["summary"]["ineligible"] == {"no_answer": 1}


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_a_score_that_is_no_number_is_missing(
    container: str, missing: float | None, tmp_path: Path
) -> None:
    """Row 0 lacks bee-2.5b: mean of 1, 2, 3 is 2, variance 2/3; ant alone has a rho, +1."""
    table = [row(0, [1, 2, 3, missing]), row(1, [1, 2, 3, 4]), row(2, [missing] * 4)]
    path = tmp_path / f"zoo.{container}"
    (parquet if container == "parquet" else jsonl)(path, table)
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"budget": 2})
    metrics = chosen.stored("metrics")
    assert metrics["n_scores"].to_list() == [3, 4, 0]
    assert metrics["difficulty"].to_list() == [-2, -2.5, None]
    assert metrics["separability"].to_list() == [pytest.approx(2 / 3), 1.25, None]
    assert metrics["stability"].to_list() == [1, 1, None]
    assert chosen.manifest["summary"]["missing_scores"] == 5
    assert chosen.manifest["summary"]["ineligible"] == {"too_few_scores": 1}
    kept = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
    assert kept == {"row-000": "bee-0.5b", "row-001": "bee-2.5b"}


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_an_answer_that_was_cut_off_is_never_kept(container: str, tmp_path: Path) -> None:
    """finish_reason length: never; stop, null, another word, and no such field: kept."""
    table: list[dict[str, Any]] = [row(i, [1, 2, 3, 4]) for i in range(5)]
    ends = [("stop", "length"), (None, "length"), ("stop", "stop"), ("length", "length"), (None,)]
    for one, reasons in zip(table, ends, strict=True):
        for name, end in zip(("bee-0.5b", "bee-2.5b"), reasons, strict=False):
            one[name]["finish_reason"] = end
    for name in ("ant-1b", "ant-7b"):
        table[3][name]["content"] = ""
    path = tmp_path / f"zoo.{container}"
    if container == "parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    else:
        jsonl(path, table)
    for mode, kept in (
        ("best", ["bee-0.5b", "bee-0.5b", "bee-2.5b", None, "bee-2.5b"]),
        ("bee-2.5b", [None, None, "bee-2.5b", None, "bee-2.5b"]),
        ("bee-0.5b", ["bee-0.5b", "bee-0.5b", "bee-0.5b", None, "bee-0.5b"]),
        (["ant-7b", "bee-2.5b"], ["ant-7b", "ant-7b", "bee-2.5b", None, "bee-2.5b"]),
    ):
        chosen = choose(tmp_path, dataset=str(path), response=mode, **KEYS | {"budget": 1.0})
        found = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
        assert [found.get(f"row-{i:03d}") for i in range(5)] == kept


def test_a_row_with_answers_but_no_instruction_is_not_eligible(tmp_path: Path) -> None:
    table = [row(i, [1, 2, 3, 4]) for i in range(4)]
    table[1]["instruction"], table[2]["instruction"] = None, " \n"
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)),
                    **KEYS | {"budget": 2})  # fmt: skip
    assert chosen.stored("ranking")["reason"].to_list() == [
        None, "no_instruction", "no_instruction", None,
    ]  # fmt: skip


def test_a_zoo_without_instructions_has_answers_but_no_training_file(tmp_path: Path) -> None:
    table = [{k: v for k, v in row(i, [1, 2, 3, 4]).items() if k != "instruction"}
             for i in range(4)]  # fmt: skip
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)),
                    **KEYS | {"budget": 2})  # fmt: skip
    assert chosen.selection["response"].null_count() == 0
    assert not (chosen.out / "train.jsonl").exists()


def test_vectors_of_a_column(tmp_path: Path) -> None:
    vectors = [[1.0, 0.0], [0, 1], [0.5, 2]]
    table = [row(i, [1, 2, 3, 4]) | {"v": v} for i, v in enumerate(vectors)]
    dataset = opened(jsonl(tmp_path / "z.jsonl", table))
    [part] = dataset.partitions(10)
    [(first, found)] = list(dataset.vectors(part, "v"))
    assert first == 0
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(vectors, np.float32))


@pytest.mark.parametrize(
    ("vectors", "told"),
    [
        ([[1.0], None], "vectors of the lengths 1, none; expected one length"),
        ([[1.0], [1.0, 2.0]], "vectors of the lengths 1, 2; expected one length"),
        ([[], []], "vectors of the lengths none; expected one length"),
        ([[1.0], [2.0, None]], "vectors of the lengths 1, 2"),
        ([[1.0], [None]], "expected lists of numbers"),
        ([[1.0], [float("nan")]], "vectors that hold null, NaN or infinite"),
        ([1.0, 2.0], "is double, expected lists of numbers"),
        ([["a"], ["b"]], "expected lists of numbers"),
    ],
)
def test_a_column_that_holds_no_vectors(vectors: list[Any], told: str, tmp_path: Path) -> None:
    table = [row(i, [1, 2, 3, 4]) | {"v": v} for i, v in enumerate(vectors)]
    dataset = opened(jsonl(tmp_path / "z.jsonl", table))
    [part] = dataset.partitions(10)
    with pytest.raises(DatasetError, match=told):
        list(dataset.vectors(part, "v"))


def test_vectors_of_another_length_in_a_later_part(tmp_path: Path) -> None:
    table = [row(i, [1, 2, 3, 4]) | {"v": [1.0] * (2 if i < 1500 else 3)} for i in range(2100)]
    dataset = opened(jsonl(tmp_path / "z.jsonl", table))
    first, *_, last = dataset.partitions(1000)
    assert len(list(dataset.vectors(first, "v"))) == 1
    with pytest.raises(DatasetError, match=r"'v' has vectors of the lengths 2, 3"):
        list(dataset.vectors(last, "v"))
    with pytest.raises(DatasetError, match=r"no vector column 'w' \(found: uuid, "):
        list(dataset.vectors(first, "w"))


def test_a_misspelled_content_field_is_not_scores_alone(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", [row(1, [1, 2, 3, 4])])
    names = {"content": "contents"}
    with pytest.raises(DatasetError) as caught:
        choose(tmp_path, dataset={"path": str(path), "columns": names}, **KEYS | {"budget": 1})
    assert "dataset.columns.content names 'contents', which no crowd model has, did you mean " \
        "'content'?" in str(caught.value)  # fmt: skip


def test_thinking_is_no_part_of_a_zoo_s_answers(tmp_path: Path) -> None:
    """Text before a lone closing tag is dropped; thinking that never ends leaves no answer."""
    texts = {"ant-1b": "Hm.\n</think>\n\nFour.", "ant-7b": "<think>So.</think>Five."}
    table = [row(i, [9, 8, 1, 2], **texts) for i in range(3)]
    table.append(row(3, [9, 8, 1, 2], **dict.fromkeys(NAMES, "<think>and so on")))
    chosen = choose(tmp_path, dataset=str(jsonl(tmp_path / "z.jsonl", table)), **KEYS | {
        "budget": 1.0})  # fmt: skip
    assert chosen.selection["response"].to_list() == ["Four."] * 3
    assert [turns["messages"][-1]["content"] for turns in chosen.lines("train.jsonl")] == [
        "Four."
    ] * 3
    assert chosen.ranking.filter(~chosen.ranking["eligible"])["instruction_id"].to_list() == [
        "row-003"
    ]
