"""Prompts: the usual layouts of instructions, in every container; what is refused stays a row."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chain import Chosen, choose
from little import CROWD, KEYS, NAMES, REWARD, SCHEMA, STRUCT, jsonl, parquet, row

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.prompts import Prompt, prompt_key, read_turns
from crowdselect_core.store.identity import canonical

SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "Why?"}
SAID = {"role": "assistant", "content": "So."}
AGAIN = {"role": "user", "content": "And then?"}
TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SHARED = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
MULTI = [SYSTEM, ASKED, SAID, AGAIN]


def said(turns: list[dict[str, str]], **words: str) -> list[dict[str, str]]:
    """Return turns as ShareGPT has them; `words` says which word stands for a role."""
    words = {"user": "human", "assistant": "gpt", "system": "system"} | words
    return [{"from": words[t["role"]], "value": t["content"]} for t in turns]


LAYOUTS: dict[str, tuple[list[dict[str, Any]], pa.Schema]] = {
    "messages": (
        [{"messages": [ASKED]}, {"messages": [ASKED, SAID]}, {"messages": [*MULTI, SAID]}],
        pa.schema([("messages", TURNS)]),
    ),
    "sharegpt": (
        [{"conversations": said([ASKED])},
         {"conversations": said([ASKED, SAID], user="user", assistant="chatgpt")},
         {"conversations": said(MULTI)}],
        pa.schema([("conversations", SHARED)]),
    ),
    "alpaca": (
        [{"instruction": "Why?", "input": "", "system": None},
         {"instruction": "Why?", "input": None, "system": " "},
         {"instruction": "Sum up:", "input": "A text.", "system": "Be brief."}],
        pa.schema([(n, pa.string()) for n in ("instruction", "input", "system")]),
    ),
    "instruction": (
        [{"prompt": "Why?"}, {"prompt": "Why?"}, {"prompt": "Sum up:"}],
        pa.schema([("prompt", pa.string())]),
    ),
}  # fmt: skip
LAST = {
    "messages": MULTI,
    "sharegpt": MULTI,
    "alpaca": [SYSTEM, {"role": "user", "content": "Sum up:\n\nA text."}],
    "instruction": [{"role": "user", "content": "Sum up:"}],
}


def write(folder: Path, container: str, table: list[dict[str, Any]], schema: pa.Schema) -> Path:
    if container == "jsonl":
        return jsonl(folder / "d.jsonl", table)
    arrow = pa.Table.from_pylist(table, schema=schema)
    if container == "saved":
        datasets.Dataset(arrow).save_to_disk(folder / "d")
        return folder / "d"
    pq.write_table(arrow, folder / "d.parquet")
    return folder / "d.parquet"


def opened(path: Path, crowd: list[CrowdModel] | None = None, **keys: Any) -> Dataset:
    config = DatasetConfig(path=str(path), **keys)
    return Dataset(open_reader(config), config, crowd or [], [])


def prompts(dataset: Dataset) -> list[Prompt]:
    parts = dataset.partitions(1000)
    return [p for part in parts for _, batch in dataset.prompts(part) for p in batch]


def texts(dataset: Dataset) -> list[str]:
    parts = dataset.partitions(1000)
    return [t for part in parts for _, batch in dataset.instructions(part) for t in batch]


def ids(dataset: Dataset) -> list[str]:
    return [i for part in dataset.partitions(9) for r in dataset.rows(part) for i in r.ids]


@pytest.mark.parametrize("container", ["parquet", "jsonl", "saved"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("named", [False, True])
def test_every_layout_in_every_container(
    layout: str, container: str, named: bool, tmp_path: Path
) -> None:
    path = write(tmp_path, container, *LAYOUTS[layout])
    dataset = opened(path, format=layout if named else "auto")
    found = prompts(dataset)
    assert [p.error for p in found] == [None] * 3
    assert [list(p.messages) for p in found] == [[ASKED], [ASKED], LAST[layout]]
    assert not dataset.layout.answers
    assert not dataset.layout.scores
    users = [m["content"] for m in LAST[layout] if m["role"] == "user"]
    assert texts(dataset) == ["Why?", "Why?", "\n\n".join(users)]
    # printf '[{"content":"Why?","role":"user"}]' | sha256sum
    one = sha256(b'[{"content":"Why?","role":"user"}]').hexdigest()[:32]
    assert ids(dataset) == [one, one, prompt_key(found[2].messages).hex()]


def test_key_of_several_turns_by_hand() -> None:
    text = b'[{"content":"Be brief.","role":"system"},{"content":"Why?","role":"user"}]'
    assert prompt_key((SYSTEM, ASKED)) == sha256(text).digest()[:16]  # type: ignore[arg-type]


def test_keys_are_of_the_canonical_json_whatever_the_characters() -> None:
    # 0xD800 to 0xDFFF: lone surrogates, which only one of the two encoders takes
    for start in range(0, 0x110000, 0x100):
        text = "".join(map(chr, range(start, start + 0x100)))
        for content in (text, text[::-1]):
            turns = ({"role": "user", "content": content},)
            named = prompt_key(turns)  # type: ignore[arg-type]
            assert named == sha256(canonical(list(turns))).digest()[:16], hex(start)


REFUSED: list[tuple[Any, str]] = [
    (None, "no_instruction"),
    ([], "no_instruction"),
    ([SAID], "no_instruction"),
    ([SYSTEM], "no_instruction"),
    ([{"role": "user", "content": " \n"}], "no_instruction"),
    ([{"role": "tool", "content": "x"}, ASKED], "bad_messages"),
    ([{"content": "x"}], "bad_messages"),
    (["text"], "bad_messages"),
    ([{"role": "user", "content": None}], "bad_messages"),
    ([{"role": "user", "content": [{"type": "image"}]}], "bad_messages"),
    ([{"role": ["user"], "content": "x"}], "bad_messages"),
    ([{"role": "user", "content": "\ud800"}], "bad_messages"),
    ([ASKED, SAID, SAID], "bad_messages"),
    ([ASKED, ASKED], "bad_messages"),
    ([SAID, ASKED], "bad_messages"),
    ([ASKED, SYSTEM, ASKED], "bad_messages"),
    ([ASKED, SYSTEM], "bad_messages"),
    ([ASKED, {"role": "assistant", "content": ""}, ASKED], "bad_messages"),
]


def test_a_row_without_a_usable_prompt_says_why(tmp_path: Path) -> None:
    table = [{"messages": turns} for turns, _ in REFUSED] + [{"messages": [ASKED]}]
    dataset = opened(jsonl(tmp_path / "d.jsonl", table))
    *refused, good = prompts(dataset)
    assert [(p.error or "").split(":")[0] for p in refused] == [code for _, code in REFUSED]
    assert all(not p.messages for p in refused)
    assert (good.messages, good.error) == ((ASKED,), None)
    assert texts(dataset) == [""] * len(refused) + ["Why?"]
    assert len(set(ids(dataset))) == len(table)


def test_a_hostile_role_makes_a_short_printable_reason() -> None:
    found = read_turns([{"role": "\x1b[31m\n" + "x" * 9999, "content": "y"}])
    assert found.error is not None
    assert found.error.isprintable()
    assert len(found.error) < 200


def test_a_blank_system_turn_is_left_out() -> None:
    assert read_turns([{"role": "system", "content": ""}, ASKED]).messages == (ASKED,)


@pytest.mark.parametrize(("text", "error"), [(None, True), ("", True), (" \n", True), ("x", False)])
def test_a_plain_row_without_a_text(text: str | None, error: bool, tmp_path: Path) -> None:
    dataset = opened(jsonl(tmp_path / "d.jsonl", [{"instruction": text}, {"instruction": "y"}]))
    found = prompts(dataset)[0]
    assert (found.error or "").startswith("no_instruction: ") is error
    assert bool(found.messages) is not error


@pytest.mark.parametrize(
    ("table", "keys", "told"),
    [
        (
            [{"messages": "hello"}],
            {},
            "column 'messages' holds text in line 1, expected lists of turns",
        ),
        ([{"instruction": 3}], {}, "column 'instruction' holds a number in line 1, expected text"),
        (
            [{"instruction": "x", "input": 3}],
            {"format": "alpaca"},
            "column 'input' holds a number in line 1",
        ),
        ([{"message": [ASKED]}], {"format": "messages"}, "needs a column 'messages', did you mean"),
        ([{"prompt": "x"}], {"format": "sharegpt"}, "needs a column 'conversations'"),
        ([{"prompt": "x"}], {"columns": {"system": "sys"}}, "dataset.columns.system names 'sys'"),
    ],
)
def test_a_column_of_a_wrong_type_is_told_at_the_start(
    table: list[dict[str, Any]], keys: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError) as caught:
        _ = opened(jsonl(tmp_path / "d.jsonl", table), **keys).layout
    assert told in str(caught.value)


def test_parquet_turns_without_texts_are_a_wrong_type(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(pa.string()))]))
    path = write(tmp_path, "parquet", [{"messages": []}], pa.schema([("messages", kind)]))
    with pytest.raises(DatasetError, match="expected lists of turns"):
        _ = opened(path).layout


def test_columns_have_other_names(tmp_path: Path) -> None:
    table = [{"chat": [ASKED], "sys": "Be brief.", "model": "m", "score": 1.0}]
    dataset = opened(
        jsonl(tmp_path / "d.jsonl", table), columns={"messages": "chat", "system": "sys"}
    )
    assert prompts(dataset)[0].messages == (SYSTEM, ASKED)
    assert dataset.columns() == ["chat", "sys", "model", "score"]


def test_which_models_have_answers(tmp_path: Path) -> None:
    table = [{**row(1, [1, 2, 3, 4]), "other": {"score": 1.0}, "number": 2}]
    dataset = opened(jsonl(tmp_path / "d.jsonl", table))
    has = [n for n in [*NAMES, "other", "number", "none"] if dataset.has_answers(n)]
    assert has == NAMES
    crowd = [CrowdModel(**m) for m in CROWD]
    with pytest.raises(DatasetError, match="no crowd model has scores"):
        _ = Dataset(dataset.reader, dataset.config, crowd, ["no such model"]).layout


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_scores_of_nobody_are_empty(container: str, tmp_path: Path) -> None:
    dataset = opened(write(tmp_path, container, *LAYOUTS["messages"]))
    part = dataset.partitions(9)[0]
    assert sum(batch.rows for batch, _ in dataset.scores(part)) == 3


def live(folder: Path, container: str) -> Chosen:
    """Choose from a zoo whose rows have their prompts in `messages` beside the instruction."""
    talks = [[ASKED], MULTI, [AGAIN, SAID, ASKED], [SYSTEM, AGAIN]]
    table = [{**row(i, [i, 2, 3, 9]), "messages": talk} for i, talk in enumerate(talks)]
    path = folder / f"zoo.{container}"
    schema = pa.schema([*SCHEMA, ("messages", TURNS)])
    jsonl(path, table) if container == "jsonl" else parquet(path, table, schema)
    keys = KEYS | {"budget": 4, "export": ["alpaca", "sharegpt", "pairs"]}
    return choose(folder, dataset=str(path), **keys)


@pytest.mark.parametrize("container", ["parquet", "jsonl"])
def test_a_zoo_with_messages_trains_on_the_whole_conversation(
    container: str, tmp_path: Path
) -> None:
    chosen = live(tmp_path, container)
    talks = {"row-000": [ASKED], "row-001": MULTI, "row-002": [AGAIN, SAID, ASKED],
             "row-003": [SYSTEM, AGAIN]}  # fmt: skip
    whole = [
        [*talks[i], {"role": "assistant", "content": f"bee-2.5b on {int(i[-3:])}"}]
        for i in chosen.ids
    ]
    assert chosen.lines("train.jsonl") == [{"messages": m} for m in whole]
    assert chosen.lines("sharegpt.jsonl") == [{"conversations": said(m)} for m in whole]
    alpaca = dict(zip(chosen.ids, chosen.lines("alpaca.jsonl"), strict=True))
    assert alpaca["row-000"] == {
        "instruction": "Why?", "input": "", "output": "bee-2.5b on 0", "system": "", "history": [],
    }  # fmt: skip
    assert alpaca["row-001"] == {
        "instruction": "And then?", "input": "", "output": "bee-2.5b on 1", "system": "Be brief.",
        "history": [["Why?", "So."]],
    }  # fmt: skip
    pairs = dict(zip(chosen.ids, chosen.lines("pairs.jsonl"), strict=True))
    assert (pairs["row-001"]["prompt"], pairs["row-001"]["messages"]) == (
        "Why?\n\nAnd then?", MULTI,
    )  # fmt: skip
    assert (pairs["row-000"]["prompt"], pairs["row-000"]["messages"]) == ("Why?", [ASKED])
    info = (chosen.out / "dataset_info.json").read_text()
    assert '"history": "history"' in info


def test_the_text_of_such_a_zoo_is_its_instruction(tmp_path: Path) -> None:
    table = [{"instruction": "a text", "messages": MULTI}, {"instruction": "b", "messages": None}]
    dataset = opened(jsonl(tmp_path / "d.jsonl", table))
    assert texts(dataset) == ["a text", ""]
    assert [list(p.messages) for p in prompts(dataset)] == [MULTI, []]


def test_files_whose_lists_differ_in_names_alone(tmp_path: Path) -> None:
    """Writers call the items of a list 'item' or 'element', and fields come in any order."""
    (tmp_path / "d").mkdir()
    other = pa.list_(pa.field("item", pa.struct([("content", pa.large_string()),
                                                 ("role", pa.string())])))  # fmt: skip
    for name, kind in (("a", TURNS), ("b", other)):
        table = pa.Table.from_pylist([{"messages": MULTI}], schema=pa.schema([("messages", kind)]))
        pq.write_table(table, tmp_path / "d" / f"{name}.parquet")
    assert [list(p.messages) for p in prompts(opened(tmp_path / "d"))] == [MULTI, MULTI]


def test_repeats_far_apart_and_the_store_holds_each_once(tmp_path: Path) -> None:
    talk = [{"messages": [{"role": "user", "content": f"q{i % 40}"}]} for i in range(60)]
    answered = [{n: {"content": f"{n} {i % 40}", REWARD: float(p + i % 40)}
                 for p, n in enumerate(NAMES)} for i in range(60)]  # fmt: skip
    schema = pa.schema([("messages", TURNS), *((n, STRUCT) for n in NAMES)])
    table = [t | a for t, a in zip(talk, answered, strict=True)]
    path = parquet(tmp_path / "z.parquet", table, schema, row_group_size=7)
    chosen = choose(tmp_path, dataset=str(path), shard_rows=7, **KEYS)
    told = chosen.manifest["summary"]
    assert (told["rows_in"], told["duplicate_rows"]) == (60, 20)
    assert chosen.stored("instructions")["source_row"].to_list() == list(range(40))
