"""Whatever a user can mend ends in one line that says where, what, and what to do; OUT is clean."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chain import choose
from little import CROWD, KEYS, NAMES, jsonl, parquet, row, rows

from crowdselect_core.errors import (
    ConfigError,
    CrowdError,
    DatasetError,
    SelectionError,
    StorageError,
    UserError,
)

TABLE = rows(30)


def put(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def good(folder: Path) -> bytes:
    return parquet(folder / "good.parquet", TABLE).read_bytes()


def lines(folder: Path) -> bytes:
    return jsonl(folder / "good.jsonl", TABLE).read_bytes()


def refusal(folder: Path, kind: type[UserError], **keys: Any) -> str:
    """Return the message with which a run is refused; it is one line, and OUT was not touched."""
    keys = {"dataset": str(folder / "good.parquet"), **KEYS, **keys}
    with pytest.raises(UserError) as caught:
        choose(folder, **keys)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 2500
    assert not (folder / "out").exists()
    return message


def mixed(folder: Path) -> str:
    put(folder / "m" / "a.parquet", good(folder))
    put(folder / "m" / "b.jsonl", lines(folder))
    return str(folder / "m")


Files = Callable[[Path], str]
FILES: dict[str, tuple[Files, str, str]] = {
    "missing file": (lambda d: str(d / "no.parquet"), "no.parquet: no such file, folder or glob",
                     "pass a path, a URL"),
    "missing relative": (lambda d: "data/no.parquet", "data/no.parquet: no such file", "pass a"),
    "missing folder": (lambda d: str(d / "nowhere"), "nowhere: no such file, folder or", "pass a"),
    "missing url": (lambda d: "memory://no/where.parquet", "memory://no/where.parquet: no such",
                    "pass a path, a URL"),
    "unknown protocol": (lambda d: "nope://x/y", "nope:// cannot be opened", "install the fsspec"),
    "glob of nothing": (lambda d: str(d / "x*.parquet"), "x*.parquet: holds no data file", ".csv"),
    "folder without data": (lambda d: put(d / "f" / "readme.md", b"x").removesuffix("/readme.md"),
                            "f: holds no data file (expected .parquet,", "name the files' folder"),
    "empty parquet": (lambda d: put(d / "e.parquet", b""), "e.parquet: is empty (0 bytes)",
                      "expected a parquet file"),
    "empty lines": (lambda d: put(d / "e.jsonl", b""), "e.jsonl: is empty (0 bytes)",
                    "expected JSON Lines"),
    "blank lines": (lambda d: put(d / "b.jsonl", b"\n \n"), "b.jsonl: has no rows", "one object a"),
    "empty csv": (lambda d: put(d / "e.csv", b""), "e.csv: is empty, expected", "a CSV table"),
    "footer cut": (lambda d: put(d / "t.parquet", good(d)[:-9]), "t.parquet: is not a complete par",
                   "write or fetch it again"),
    "half a parquet": (lambda d: put(d / "t.parquet", good(d)[:3000]), "is not a complete par",
                       "write or fetch it again"),
    "five bytes": (lambda d: put(d / "t.parquet", good(d)[:5]), "is not a complete par", "again"),
    "parquet as jsonl": (lambda d: put(d / "p.jsonl", good(d)), "p.jsonl: is a parquet file",
                         "give it the suffix that says so"),
    "jsonl as parquet": (lambda d: put(d / "j.parquet", lines(d)), "is not a complete par",
                         "write or fetch it again"),
    "parquet as csv": (lambda d: put(d / "p.csv", good(d)), "p.csv: is a parquet file and no",
                       "give it the suffix that says so"),
    "csv as jsonl": (lambda d: put(d / "c.jsonl", b"id,a\n1,2\n"), "c.jsonl, line 1: is no JSON",
                     "correct or remove the line"),
    "json array, cut": (lambda d: put(d / "a.json", b'[{"id": 1}'), "a.json, line 1: expected ','",
                        "the end of the file comes there; correct the file"),
    "text file": (lambda d: put(d / "x.txt", b"hello"), "x.txt: unknown format",
                  "expected .parquet, .jsonl (JSON Lines), .json"),
    "no ending": (lambda d: put(d / "x", b"hello"), "x: unknown format", "expected .parquet"),
    "zipped": (lambda d: put(d / "x.jsonl.gz", b"hello"), "x.jsonl.gz: is no whole gzip file",
               "write or fetch it again"),
    "mixed formats": (mixed, "m: holds files of several formats (jsonl, parquet)",
                      "name one kind by a glob such as *.parquet"),
    "no rows": (lambda d: str(parquet(d / "z.parquet", [])), "z.parquet: has no rows", "expected"),
    "no id, no text": (lambda d: put(d / "n.jsonl", b'{"name": 1}\n'),
                       "n.jsonl: has neither an id column (instruction_id, uuid, id) nor",
                       "found name; name yours under dataset.columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(FILES))
def test_a_data_set_that_cannot_be_read(case: str, tmp_path: Path) -> None:
    write, where, remedy = FILES[case]
    kind = StorageError if case == "unknown protocol" else DatasetError
    message = refusal(tmp_path, kind, dataset=write(tmp_path))
    assert where in message
    assert remedy in message
    assert not (tmp_path / "store").exists()


CONFIGS: dict[str, tuple[type[UserError], dict[str, Any], list[str]]] = {
    "crowd model without a column": (
        CrowdError,
        {"crowd": [*CROWD[:3], {**CROWD[3], "name": "bee-2.5B-it"}]},
        ["good.parquet: 1 of 4 crowd models have no column: bee-2.5B-it, did you mean 'bee-2.5b'?",
         "columns that no crowd model has: bee-2.5b; correct the crowd file or pass another --cr"],
    ),
    "the wrong crowd": (
        CrowdError,
        {"crowd": "paper"},
        ["no --crowd given, or the paper's, so the paper's 19 models are expected: ",
         "19 of 19 crowd models have no column: Meta-Llama-3-70B-Instruct, ", " and 16 more",
         "columns that no crowd model has: ant-1b, ant-7b, bee-0.5b, bee-2.5b"],
    ),
    "unknown reward model": (
        DatasetError,
        {"reward_models": ["RM-v0.2"]},
        ["no crowd model has scores of the reward model 'RM-v0.2', did you mean 'RM-v0.1'?",
         "(found: RM-2, RM-v0.1)"],
    ),
    "text as a reward model": (
        DatasetError, {"reward_models": ["content"]},
        ["column 'ant-1b.content' is string, expected numbers"],
    ),
    "unknown method": (ConfigError, {"method": "stabilty"}, ["did you mean 'stability'?"]),
    "unknown key": (ConfigError, {"budgt": 5}, ["unknown key 'budgt', did you mean 'budget'?"]),
    "empty crowd": (CrowdError, {"crowd": []}, ["the crowd is empty: name at least one model"]),
    "a model twice": (
        CrowdError, {"crowd": [*CROWD, CROWD[0]]}, ["ant-1b stand(s) twice", "one entry"],
    ),
    "crowd file not there": (CrowdError, {"crowd": "no.yaml"}, ["crowd file 'no.yaml' does not"]),
    "no family of two": (
        CrowdError,
        {"crowd": [{**m, "family": m["name"]} for m in CROWD]},
        ["none of the 4 families of 4 models has two models of different size",
         "or give stability no weight (weights 1,1,0)"],
    ),
    "families of one size": (
        CrowdError, {"crowd": [{**m, "size": 1} for m in CROWD]},
        ["none of the 2 families of 4 models has two models of different size"],
    ),
    "stability of no family": (
        CrowdError,
        {"crowd": [{**m, "family": m["name"]} for m in CROWD], "method": "stability",
         "weights": "1,1,0"},
        ["none of the 4 families"],
    ),
    "headroom without a student": (
        CrowdError, {"weights": "1,1,2,1"},
        ["headroom has the weight 1, but none of the 4 models is the student", "'role: student'"],
    ),
    "headroom alone without a student": (CrowdError, {"method": "headroom"}, ["the student"]),
    "two students": (
        CrowdError, {"crowd": [{**m, "role": "student"} for m in CROWD[:2]] + CROWD[2:]},
        ["ant-1b, ant-7b have the role student, expected one at most"],
    ),
    "a student alone": (
        CrowdError, {"crowd": [{**CROWD[0], "role": "student"}]},
        ["ant-1b is the student and no other model is named"],
    ),
    "a student without a column": (
        CrowdError,
        {"crowd": [*CROWD, {"name": "bee-2b", "family": "b", "size": 1, "role": "student"}]},
        ["1 of 5 crowd models have no column: bee-2b"],
    ),
    "budget above the eligible": (
        SelectionError, {"budget": 29},
        ["the budget is 29 rows, but only 28 of 30 rows are eligible (not eligible: no_stability "
         "2): give a smaller --budget, or --allow-short to take all 28"],
    ),
    "budget below a row": (
        SelectionError, {"budget": 0.034}, ["0.034 of 28 eligible rows is less than one row"],
    ),
    "budget 0": (ConfigError, {"budget": 0}, ["budget: expected whole rows (200) or a fraction"]),
    "budget true": (ConfigError, {"budget": True}, ["budget: expected whole rows", "found True"]),
    "fraction 2.0": (ConfigError, {"budget": 2.0}, ["budget: expected whole", "found 2.0"]),
    "nobody is eligible": (
        SelectionError, {"min_scores": 5}, ["nothing to select: 0 of 30 rows are eligible (not "
                                            "eligible: too_few_scores 30)"],
    ),
    "weights of zero": (ConfigError, {"weights": "0,0,0"}, ["weights: expected finite"]),
    "weights that are no numbers": (ConfigError, {"weights": "nan,1,1"}, ["weights.0: Input"]),
    "two weights": (ConfigError, {"weights": "1,2"}, ["weights: expected three numbers", "'1,2'"]),
    "weights out of scale": (
        ConfigError, {"weights": "1e9,1,1"}, ["expected 1e-6 to 1e6", "scale all of them"],
    ),
    "unknown response": (
        ConfigError, {"response": "bee-25b"}, ["neither a mode", "did you mean 'bee-2.5b'?"],
    ),
    "unknown reference model": (
        CrowdError, {"reference_model": "ant7b"}, ["'ant7b' is not in the crowd, did you mean"],
    ),
    "unknown column": (
        DatasetError, {"dataset": {"columns": {"instruction_id": "uid"}}},
        ["dataset.columns.instruction_id names 'uid', which is not there, did you mean 'uuid'?"],
    ),
    "column of a wrong type": (
        DatasetError, {"dataset": {"columns": {"instruction": "ant-1b"}}},
        ["column 'ant-1b' is struct<", "expected text; correct it, or name another column"],
    ),
    "two reward models that say nothing": (
        DatasetError, {"reward_models": ["flat", "flat2"]},
        ["reward models flat, flat2: each gives every answer the same score or none"],
    ),
    "tokens for less than a row": (
        SelectionError, {"budget_tokens": 1}, ["alone has 6 tokens and the budget is 1"],
    ),
    "more clusters than rows": (
        SelectionError, {"clusters": 31}, ["clusters: 31 requested, but there are 30 rows: "],
    ),
    "no vector column": (
        DatasetError, {"clusters": 3, "embedder": "column:vec"}, ["has no vector column 'vec'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CONFIGS))
def test_a_config_that_cannot_be(case: str, tmp_path: Path) -> None:
    kind, keys, fragments = CONFIGS[case]
    path = parquet(tmp_path / "good.parquet", TABLE)
    if "flat" in keys.get("reward_models", ()):
        flat = [{**r, **{n: {**r[n], "flat": 1, "flat2": 2} for n in NAMES}} for r in TABLE]
        keys = keys | {"dataset": str(jsonl(tmp_path / "flat.jsonl", flat))}
    if isinstance(keys.get("dataset"), dict):
        keys = keys | {"dataset": {"path": str(path), **keys["dataset"]}}
    message = refusal(tmp_path, kind, **keys)
    for fragment in fragments:
        assert fragment in message


LISTS: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "list.txt: no such file; expected ids, one a line"),
    "empty": (b"", "list.txt: contains no id; write one per line, or leave the option out"),
    "blank": (b"\r\n\n", "list.txt: contains no id"),
    "mark alone": (b"\xef\xbb\xbf\n", "list.txt: contains no id"),
    "binary": (b"\xff\xfe\x80", "list.txt: cannot be read as a list of ids: 'utf-8' codec"),
}


@pytest.mark.parametrize("option", ["include", "exclude"])
@pytest.mark.parametrize("case", list(LISTS))
def test_a_list_of_ids_that_cannot_be(case: str, option: str, tmp_path: Path) -> None:
    good(tmp_path)
    data, told = LISTS[case]
    if data is not None:
        put(tmp_path / "list.txt", data)
    assert told in refusal(tmp_path, ConfigError, **{option: str(tmp_path / "list.txt")})


def test_tables_of_ids_that_cannot_be(tmp_path: Path) -> None:
    path = put(tmp_path / "ids.parquet", good(tmp_path))
    assert "lacks the columns instruction_id" in refusal(tmp_path, ConfigError, exclude=path)
    path = put(tmp_path / "bad.parquet", b"no parquet")
    assert "bad.parquet: cannot be read" in refusal(tmp_path, ConfigError, exclude=path)
    (tmp_path / "folder").mkdir()
    message = refusal(tmp_path, ConfigError, include=str(tmp_path / "folder"))
    assert "Is a directory" in message
    path = put(tmp_path / "none.txt", b"nobody\n")
    message = refusal(tmp_path, SelectionError, include=path)
    assert "0 of 30 rows are eligible (not eligible: not_included 30)" in message


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_lists_of_ids_of_every_kind(end: str, tmp_path: Path) -> None:
    """A byte order mark, CRLF, blank lines, ids of no row; and an earlier selection.parquet."""
    path = str(parquet(tmp_path / "good.parquet", TABLE))
    first = choose(tmp_path, dataset=path, **KEYS)
    text = "\ufeff" + (end or "\n").join([*first.ids, "", "nobody"]) + end
    listed = put(tmp_path / "ids.txt", text.encode())
    only = choose(tmp_path / "only", dataset=path, include=listed, **KEYS)
    assert sorted(only.ids) == sorted(first.ids)
    without = choose(tmp_path / "without", dataset=path, exclude=listed, **KEYS)
    assert not set(without.ids) & set(first.ids)
    table = choose(
        tmp_path / "table", dataset=path, exclude=str(first.out / "selection.parquet"), **KEYS
    )
    assert table.ids == without.ids


def test_stability_without_weight_needs_no_family(tmp_path: Path) -> None:
    path = str(parquet(tmp_path / "good.parquet", TABLE))
    crowd = [{**m, "family": m["name"]} for m in CROWD]
    chosen = choose(tmp_path, dataset=path, **KEYS | {"crowd": crowd, "weights": "1,1,0"})
    assert len(chosen.ids) == 5
    for method in ("difficulty", "separability", "reward", "random"):
        keys = KEYS | {"crowd": crowd, "method": method}
        assert len(choose(tmp_path / method, dataset=path, **keys).ids) == 5


def test_a_short_choice_may_be_allowed(tmp_path: Path) -> None:
    path = str(parquet(tmp_path / "good.parquet", TABLE))
    chosen = choose(tmp_path, dataset=path, allow_short=True, **KEYS | {"budget": 1000})
    assert len(chosen.ids) == 28


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    good(tmp_path)
    there = put(tmp_path / "file", b"x")
    message = refusal(tmp_path, StorageError, store=there)
    assert "a part of the path is a file, expected a folder: name another place" in message
    message = refusal(tmp_path, StorageError, **{"out": there})
    assert "a part of the path is a file, expected a folder: name another place" in message
    assert (tmp_path / "file").read_bytes() == b"x"


def test_an_earlier_result_survives_a_run_that_is_refused(tmp_path: Path) -> None:
    path = str(parquet(tmp_path / "good.parquet", TABLE))
    choose(tmp_path, dataset=path, **KEYS)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    for keys in ({"budget": 29}, {"reward_models": ["none"]}, {"dataset": str(tmp_path / "no")}):
        with pytest.raises(UserError):
            choose(tmp_path, **{"dataset": path, **KEYS, **keys})
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_scores_that_are_all_equal_tell_nothing(tmp_path: Path) -> None:
    table = [row(i, [1, 1, 1, 1]) for i in range(9)]
    path = str(jsonl(tmp_path / "z.jsonl", table))
    message = refusal(tmp_path, SelectionError, dataset=path)
    assert "0 of 9 rows are eligible (not eligible: no_stability 9)" in message
