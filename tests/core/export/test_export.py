"""The files for training: each loaded as their readers load it, and checked value by value.

The columns are those that TRL documents (`messages` for SFTTrainer; `prompt`, `chosen`, `rejected`
for DPOTrainer) and those of LLaMA-Factory's data/README (alpaca, sharegpt, dataset_info.json).
"""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from chain import Chosen, choose
from datasets import load_dataset
from little import KEYS, NAMES, jsonl, row, rows

from crowdselect_core.errors import ConfigError
from crowdselect_core.export import selection_files
from crowdselect_core.export.selection_files import MANIFEST

# Scores of ant-1b, ant-7b, bee-0.5b, bee-2.5b. Best and worst by hand:
TABLE = [
    row(0, [1, 2, 3, 4]),  # bee-2.5b over ant-1b by 3
    row(1, [4, 3, 2, 9], **{"bee-2.5b": ""}),  # ant-1b over bee-0.5b by 2: the empty one is out
    row(2, [7, 7, 7, 7]),  # all equal: no pair
    row(3, [5, 1, None, 2]),  # ant-1b over ant-7b by 4
    row(4, [5, 1, 2, 3], **{"ant-7b": "same", "ant-1b": "same"}),  # best and worst are one text
    row(5, [1, 2, None, None], **{"ant-1b": None}),  # one answer alone
    row(6, [0.5, 0, 0.25, 0]),  # ant-1b over bee-2.5b by 0.5; of the two worst the last by name
]
ALL = KEYS | {"budget": 1.0, "weights": "1,0,0"}
BY_ID = {r["uuid"]: r for r in TABLE}


def read(path: Path, cache: Path) -> list[dict[str, Any]]:
    """Return the rows as `datasets` reads them."""
    loaded = load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    return loaded.to_list()


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("export")
    path = jsonl(folder / "z.jsonl", TABLE)
    return choose(folder, dataset=str(path), export=["pairs", "alpaca", "sharegpt"], **ALL)


def wanted(chosen: Chosen) -> list[tuple[str, str]]:
    """The instruction and the kept answer of every chosen row, from the data set itself."""
    columns = chosen.selection.select("instruction_id", "response_model")
    return [(BY_ID[i]["instruction"], BY_ID[i][m]["content"]) for i, m in columns.iter_rows()]


def test_which_answers_are_kept(chosen: Chosen) -> None:
    kept = dict(chosen.selection.select("instruction_id", "response_model").iter_rows())
    assert kept == {
        "row-000": "bee-2.5b", "row-001": "ant-1b", "row-002": "ant-1b", "row-003": "ant-1b",
        "row-004": "ant-1b", "row-005": "ant-7b", "row-006": "ant-1b",
    }  # fmt: skip


def test_chat_messages(chosen: Chosen, tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        }
        for question, answer in wanted(chosen)
    ]
    assert chosen.lines("train.jsonl") == rows
    assert read(chosen.out / "train.jsonl", tmp_path) == rows


def test_sharegpt(chosen: Chosen, tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
        for q, a in wanted(chosen)
    ]
    assert chosen.lines("sharegpt.jsonl") == rows
    assert read(chosen.out / "sharegpt.jsonl", tmp_path) == rows


def test_alpaca(chosen: Chosen, tmp_path: Path) -> None:
    rows = [{"instruction": q, "input": "", "output": a} for q, a in wanted(chosen)]
    assert chosen.lines("alpaca.jsonl") == rows
    assert read(chosen.out / "alpaca.jsonl", tmp_path) == rows


def pair(number: int, best: str, worst: str, margin: float) -> dict[str, Any]:
    one = BY_ID[f"row-{number:03d}"]
    return {
        "prompt": one["instruction"],
        "chosen": one[best]["content"],
        "rejected": one[worst]["content"],
        "chosen_model": best,
        "rejected_model": worst,
        "margin": margin,
    }


def by_prompt(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(found, key=lambda p: p["prompt"])


def test_pairs_best_against_worst(chosen: Chosen, tmp_path: Path) -> None:
    found = chosen.lines("pairs.jsonl")
    assert by_prompt(found) == [
        pair(0, "bee-2.5b", "ant-1b", 3),
        pair(1, "ant-1b", "bee-0.5b", 2),
        pair(3, "ant-1b", "ant-7b", 4),
        pair(6, "ant-1b", "bee-2.5b", 0.5),
    ]
    assert read(chosen.out / "pairs.jsonl", tmp_path) == found
    assert chosen.manifest["summary"]["pairs"] == 4
    assert chosen.manifest["summary"]["without_pair"] == 3
    order = [i for i in chosen.ids if BY_ID[i]["instruction"] in {p["prompt"] for p in found}]
    assert [p["prompt"] for p in found] == [BY_ID[i]["instruction"] for i in order]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"rejected": 2},
            [
                pair(0, "bee-2.5b", "bee-0.5b", 1),
                pair(1, "ant-1b", "ant-7b", 1),
                pair(3, "ant-1b", "bee-2.5b", 3),
                pair(4, "ant-1b", "bee-2.5b", 2),
                pair(6, "ant-1b", "bee-0.5b", 0.25),
            ],
        ),
        (
            {"rejected": 3},  # row 1 has three complete answers, row 3 three scored ones
            [
                pair(0, "bee-2.5b", "ant-7b", 2),
                pair(1, "ant-1b", "bee-0.5b", 2),
                pair(3, "ant-1b", "ant-7b", 4),
                pair(4, "ant-1b", "bee-0.5b", 3),
                pair(6, "ant-1b", "ant-7b", 0.5),
            ],
        ),
        ({"rejected": 5}, []),
        (
            {"min_margin": 3},
            [pair(0, "bee-2.5b", "ant-1b", 3), pair(3, "ant-1b", "ant-7b", 4)],
        ),
        ({"min_margin": 3.5}, [pair(3, "ant-1b", "ant-7b", 4)]),
        ({"rejected": 2, "min_margin": 2.5}, [pair(3, "ant-1b", "bee-2.5b", 3)]),
    ],
)
def test_pairs_of_a_rank_and_of_a_margin(
    keys: dict[str, Any], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    chosen = choose(tmp_path, dataset=str(path), export="pairs", pairs=keys, **ALL)
    assert by_prompt(chosen.lines("pairs.jsonl")) == expected
    assert chosen.manifest["summary"]["without_pair"] == len(TABLE) - len(expected)


def test_pairs_within_an_allow_list(tmp_path: Path) -> None:
    """ant-1b and bee-0.5b alone: rows 0, 1, 4 and 6 have both, scored and complete."""
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    chosen = choose(tmp_path, dataset=str(path), export="pairs", response="ant-1b,bee-0.5b", **ALL)
    assert by_prompt(chosen.lines("pairs.jsonl")) == [
        pair(0, "bee-0.5b", "ant-1b", 2),
        pair(1, "ant-1b", "bee-0.5b", 2),
        pair(4, "ant-1b", "bee-0.5b", 3),
        pair(6, "ant-1b", "bee-0.5b", 0.25),
    ]


def test_dataset_info_names_every_file_for_llama_factory(chosen: Chosen) -> None:
    info = json.loads((chosen.out / "dataset_info.json").read_text("utf-8"))
    assert info == {
        "crowdselect": {
            "file_name": "train.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        },
        "crowdselect_sharegpt": {
            "file_name": "sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
        },
        "crowdselect_alpaca": {
            "file_name": "alpaca.jsonl",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
        "crowdselect_pairs": {
            "file_name": "pairs.jsonl",
            "ranking": True,
            "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        },
    }
    for entry in info.values():
        first = chosen.lines(entry["file_name"])[0]
        assert set(entry["columns"].values()) <= set(first)


@pytest.mark.parametrize(
    ("export", "files"),
    [
        ([], []),
        (["alpaca"], ["alpaca.jsonl", "dataset_info.json"]),
        ("sharegpt,pairs", ["dataset_info.json", "pairs.jsonl", "sharegpt.jsonl"]),
    ],
)
def test_only_what_is_asked_for_is_written(
    export: str | list[str], files: list[str], tmp_path: Path
) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    chosen = choose(tmp_path, dataset=str(path), export=export, **ALL)
    always = ["manifest.json", "ranking.parquet", "selection.parquet", "train.jsonl"]
    assert sorted(p.name for p in chosen.out.iterdir()) == sorted(always + files)


def test_the_manifest_names_the_files_by_their_bytes(chosen: Chosen) -> None:
    told = json.loads((chosen.out / "manifest.json").read_text("utf-8"))
    assert told == json.loads(json.dumps(chosen.manifest))
    assert set(told["files"]) == {p.name for p in chosen.out.iterdir()} - {"manifest.json"}
    for name, entry in told["files"].items():
        data = (chosen.out / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    assert told["artifacts"]["selection"] == f"selection/{chosen.inputs.selection.key}"
    assert told["config"]["budget"] == 1.0


def test_an_export_that_lies_there_is_found_and_a_changed_file_is_not(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    chosen = choose(tmp_path, dataset=str(path), export="alpaca", **ALL)
    wanted = selection_files.spec(chosen.config, chosen.inputs)
    found = selection_files.find(chosen.config, wanted)
    assert found == json.loads(json.dumps(chosen.manifest))
    other = chosen.config.model_copy(update={"export": ["sharegpt"]})
    assert selection_files.find(other, selection_files.spec(other, chosen.inputs)) is None
    train = chosen.out / "train.jsonl"
    data = bytearray(train.read_bytes())
    data[-2] ^= 1
    for damaged in (b"cut", bytes(data)):
        train.write_bytes(damaged)
        assert selection_files.find(chosen.config, wanted) is None
    train.unlink()
    assert selection_files.find(chosen.config, wanted) is None
    told = json.loads((chosen.out / MANIFEST).read_text("utf-8"))
    (chosen.out / MANIFEST).write_text(json.dumps(told | {"files": {"train.jsonl": {}}}))
    assert selection_files.find(chosen.config, wanted) is None


def test_what_an_earlier_export_wrote_goes_and_a_strangers_file_stays(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    choose(tmp_path, dataset=str(path), export="alpaca,pairs", **ALL)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    chosen = choose(tmp_path, dataset=str(path), **ALL)
    names = {p.name for p in chosen.out.iterdir()}
    assert names == {"manifest.json", "ranking.parquet", "selection.parquet", "train.jsonl",
                     "notes.txt"}  # fmt: skip


def test_what_an_earlier_export_wrote_goes_whenever_the_next_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    steps = 0
    while True:  # killed before its first, second, ... change of OUT
        choose(tmp_path, dataset=str(path), export="alpaca,pairs", **ALL)
        with monkeypatch.context() as patch:
            left = iter(range(steps))
            for name in ("unlink", "replace"):
                patch.setattr(Path, name, killing(getattr(Path, name), left, tmp_path / "out"))
            try:
                choose(tmp_path, dataset=str(path), **ALL)
            except Killed:
                pass
            else:
                break
        chosen = choose(tmp_path, dataset=str(path), **ALL)
        assert {p.name for p in chosen.out.iterdir()} == {*chosen.manifest["files"], MANIFEST}
        steps += 1
    assert steps > 6


class Killed(BaseException):
    """The process ended here."""


def killing(call: Callable[..., Any], left: Iterator[int], out: Path) -> Callable[..., Any]:
    """Let a call change files of OUT a number of times, then be killed instead."""

    def called(path: Path, *args: Any, **how: Any) -> Any:
        target = Path(args[0]) if args else path
        if target.parent == out and not target.name.startswith(".") and next(left, None) is None:
            raise Killed
        return call(path, *args, **how)

    return called


@pytest.mark.parametrize(
    "there", ["{}", "[1]", "not json", '{"files": 5, "summary": 1}', '{"files": {"../x": 1}, '
              '"summary": {}, "key": "k", "artifacts": []}']
)  # fmt: skip
def test_a_manifest_that_is_not_ours_stays(there: str, tmp_path: Path) -> None:
    """Whatever lies there under that name, nothing is removed or replaced."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text(there)
    (tmp_path / "x").write_text("keep")
    path = jsonl(tmp_path / "z.jsonl", TABLE)
    with pytest.raises(ConfigError, match=r"out: holds manifest\.json, which no manifest of an"):
        choose(tmp_path, dataset=str(path), **ALL)
    assert (tmp_path / "x").read_text() == "keep"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["manifest.json"]
    assert (tmp_path / "out" / "manifest.json").read_text() == there


def test_the_export_goes_to_any_place(tmp_path: Path) -> None:
    import fsspec

    path = jsonl(tmp_path / "z.jsonl", TABLE)
    local = choose(tmp_path / "local", dataset=str(path), **ALL)
    out = f"memory://{tmp_path.name}/out"
    choose_there = choose(tmp_path / "there", dataset=str(path), **ALL | {"out": out})
    fs = fsspec.filesystem("memory")
    assert (
        fs.cat_file(f"/{tmp_path.name}/out/train.jsonl") == (local.out / "train.jsonl").read_bytes()
    )
    assert sorted(n.rsplit("/", 1)[-1] for n in fs.ls(f"/{tmp_path.name}/out", detail=False)) == [
        "manifest.json", "ranking.parquet", "selection.parquet", "train.jsonl",
    ]  # fmt: skip
    assert choose_there.manifest["files"] == local.manifest["files"]


def test_the_selection_table(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "z.jsonl", rows(20))
    chosen = choose(tmp_path, dataset=str(path), **KEYS | {"direction": "bottom"})
    table = chosen.selection
    assert table.columns == [
        "rank", "instruction_id", "method", "cluster_id", "score", "difficulty", "separability",
        "stability", "headroom", "response_model", "response", "messages",
    ]  # fmt: skip
    assert table["rank"].to_list() == [1, 2, 3, 4, 5]
    assert set(table["method"]) == {"crowdselect-bottom"}
    assert table["score"].to_list() == sorted(table["score"], reverse=True)
    assert set(table["response_model"]) <= set(NAMES)
    ranking = chosen.ranking
    assert ranking.height == 20
    assert ranking.filter("selected").sort("rank")["instruction_id"].to_list() == chosen.ids


def test_a_budget_in_tokens_by_hand(tmp_path: Path) -> None:
    """Instruction and kept answer together, UTF-8 bytes / 4 rounded up: 3, 5 and 2 tokens."""
    table = [
        row(0, [1, 2, 3, 4], instruction="12345678", **{"bee-2.5b": "1234"}),  # 12 bytes
        row(1, [0, 1, 2, 3], instruction="ééééé", **{"bee-2.5b": "🦙🦙"}),  # 10 + 8 bytes
        row(2, [-1, 0, 1, 2], instruction="a", **{"bee-2.5b": "1234567"}),  # 8 bytes
    ]
    path = jsonl(tmp_path / "z.jsonl", table)
    order = ["row-002", "row-001", "row-000"]  # by difficulty
    for tokens, count in ((2, 1), (6, 1), (7, 2), (9, 2), (10, 3), (1000, 3)):
        chosen = choose(tmp_path, dataset=str(path), budget_tokens=tokens, **ALL)
        assert chosen.ids == order[:count]


@pytest.mark.model
def test_a_budget_in_tokens_of_a_tokenizer(tmp_path: Path) -> None:
    """A tokenizer of white space: instruction and answer run together, so one word is shared."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", bos_token="[UNK]")
    made.save_pretrained(tmp_path / "words")
    table = [
        row(0, [1, 2, 3, 4], instruction="one two ", **{"bee-2.5b": "three"}),  # 3 words
        row(1, [0, 1, 2, 3], instruction="a ", **{"bee-2.5b": "b c d"}),  # 4 words
    ]
    path = jsonl(tmp_path / "z.jsonl", table)
    keys = ALL | {"tokenizer": str(tmp_path / "words")}
    for tokens, ids in ((4, ["row-001"]), (6, ["row-001"]), (7, ["row-001", "row-000"])):
        chosen = choose(tmp_path, dataset=str(path), budget_tokens=tokens, **keys)
        assert chosen.ids == ids


def test_prompt_and_completion_are_the_messages_apart(tmp_path: Path) -> None:
    """TRL masks the prompt of such rows: the last turn alone is trained on."""
    table = [
        row(0, [1, 2, 3, 4]) | {"messages": [
            {"role": "system", "content": "S"}, {"role": "user", "content": "A"},
            {"role": "assistant", "content": "B"}, {"role": "user", "content": "C"}]},
        row(1, [2, 1, 0, 4]) | {"messages": [{"role": "user", "content": "D"}]},
    ]  # fmt: skip
    path = jsonl(tmp_path / "z.jsonl", table)
    chosen = choose(tmp_path, dataset=str(path), export=["prompt-completion"], **ALL)
    lines = read(chosen.out / "prompt_completion.jsonl", tmp_path / "cache")
    assert [[*r["prompt"], *r["completion"]] for r in lines] == [
        r["messages"] for r in chosen.lines("train.jsonl")
    ]
    assert all(len(r["completion"]) == 1 for r in lines)
    assert all(r["completion"][0]["role"] == "assistant" for r in lines)
    assert sorted(len(r["prompt"]) for r in lines) == [1, 4]
    assert "prompt_completion.jsonl" in chosen.manifest["files"]
