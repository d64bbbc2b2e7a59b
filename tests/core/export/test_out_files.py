"""Nothing in OUT is replaced that is not a run's own, and nothing that a run reads."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from chain import Chosen, choose
from little import KEYS, jsonl, parquet, rows

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.export import selection_files
from crowdselect_core.planning import preflight
from crowdselect_core.planning.inputs import check_no_input
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.out_files import PENDING, writing
from crowdselect_core.store.pending_files import OtherRunError, size_and_sha256


def check(tmp_path: Path, **keys: Any) -> None:
    """Check OUT as a run does before its first stage."""
    config = load(None, {"store": str(tmp_path / "store")} | KEYS | keys, {})
    preflight.check_out(config, selection_files.names_of(config))


def again(chosen: Chosen, **keys: Any) -> Chosen:
    return choose(
        chosen.out.parent, dataset=chosen.config.dataset.path, **KEYS | {"clusters": 0} | keys
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "zoo.jsonl", rows(20))


NAMES = ["selection.parquet", "ranking.parquet", "train.jsonl", "manifest.json"]


@pytest.mark.parametrize("name", [*NAMES, "sharegpt.jsonl", "prompt_completion.jsonl"])
def test_a_file_of_somebody_else_is_never_replaced(name: str, data: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir()
    theirs.write_text("[1, 2]")
    keys = {"export": ["sharegpt", "prompt-completion"], "dataset": str(data)}
    for refuse in (check, choose):
        with pytest.raises(ConfigError, match=f"holds {name}, which no manifest") as caught:
            refuse(tmp_path, **{"out": str(tmp_path / "out")} | keys, **(
                KEYS if refuse is choose else {}))  # fmt: skip
        assert "name another --out, or move the file away" in str(caught.value)
        assert theirs.read_text() == "[1, 2]"
        assert [p.name for p in theirs.parent.iterdir()] == [name]


def test_a_file_that_is_not_written_is_nobody_s_business(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "alpaca.jsonl").write_text("mine")
    (tmp_path / "out" / "README.md").write_text("mine")
    choose(tmp_path, dataset=str(data), **KEYS)
    assert (tmp_path / "out" / "alpaca.jsonl").read_text() == "mine"


def test_a_run_replaces_what_an_earlier_one_wrote(data: Path, tmp_path: Path) -> None:
    one = choose(tmp_path, dataset=str(data), export=["alpaca"], **KEYS)
    check(tmp_path, dataset=str(data), out=str(one.out), export=["alpaca"])
    two = again(one, budget=3)
    assert two.selection.height == 3
    assert not (one.out / "alpaca.jsonl").exists()


def test_a_killed_export_can_be_repeated(data: Path, tmp_path: Path) -> None:
    """Between the old mark and the new one no manifest names the files: a temporary list does."""
    one = choose(tmp_path, dataset=str(data), **KEYS)
    before = (one.out / "train.jsonl").read_bytes()
    place = open_backend(str(one.out))
    (one.out / "manifest.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        _killed(place)
    assert (one.out / PENDING).exists()
    (one.out / "train.jsonl").write_text("cut")
    two = again(one)
    assert (two.out / "train.jsonl").read_bytes() == before
    assert sorted(p.name for p in two.out.iterdir()) == sorted(NAMES)


def _killed(place: StorageBackend) -> None:
    with writing(place, "killed", {name: size_and_sha256(b"") for name in NAMES[:-1]}):
        raise KeyboardInterrupt


def _written(place: StorageBackend, run: int) -> bool:
    """Write as a run does; return whether its files were said to be whole."""
    files = {f"{n}.jsonl": b"%d" % run * 1000 for n in range(4)}
    stated = {name: size_and_sha256(data) for name, data in files.items()}
    told = {"key": str(run), "files": stated, "summary": {}, "artifacts": {}}
    try:
        with writing(place, str(run), stated):
            place.replace_all({**files, "manifest.json": json.dumps(told).encode()})
    except OtherRunError:
        return False
    return True


@pytest.mark.parametrize("root", ["{folder}", "memory://{folder}"])
def test_of_two_runs_that_mix_their_files_one_says_so(root: str, tmp_path: Path) -> None:
    for number in range(20):
        place = open_backend(root.format(folder=tmp_path / str(number)))
        with ThreadPoolExecutor(2) as pool:
            whole = list(pool.map(_written, (place, place), (1, 2)))
        told = json.loads(place.read("manifest.json"))
        names = {place.read(name)[:1].decode() for name in told["files"]}
        run = int(told["key"])
        if all(whole):
            assert names == {str(run)}
        assert _written(place, 3)
        assert place.sizes("").keys() == {*told["files"], "manifest.json"}


@pytest.mark.parametrize("root", ["{folder}", "memory://{folder}"])
def test_equal_runs_do_not_disturb_each_other(root: str, tmp_path: Path) -> None:
    for number in range(20):
        place = open_backend(root.format(folder=tmp_path / str(number)))
        with ThreadPoolExecutor(2) as pool:
            assert all(pool.map(_written, (place, place), (1, 1)))
        told = json.loads(place.read("manifest.json"))
        assert {place.read(name)[:1] for name in told["files"]} == {b"1"}


@pytest.mark.parametrize("other", [1, 2])
def test_a_run_that_ended_in_between_is_noticed_by_the_files(other: int, tmp_path: Path) -> None:
    """It took the list away, so only the files tell."""
    place = open_backend(str(tmp_path))
    data = b"%d" % other * 1000
    stated = {f"{n}.jsonl": size_and_sha256(b"1" * 1000) for n in range(4)}
    told = {"key": "1", "files": stated, "summary": {}, "artifacts": {}}
    noticed = pytest.raises(OtherRunError, match="another run wrote here")
    with nullcontext() if other == 1 else noticed, writing(place, "1", stated):
        for name in list(stated)[:2]:
            place.replace(name, b"1" * 1000)
        assert _written(place, other)
        for name in list(stated)[2:]:
            place.replace(name, b"1" * 1000)
        place.replace("manifest.json", json.dumps(told).encode())
    assert place.read("0.jsonl") == data


@pytest.mark.parametrize("name", ["train.jsonl", "ranking.parquet"])
def test_the_input_is_never_replaced(name: str, tmp_path: Path) -> None:
    """Also where a manifest names it: an earlier run's file that goes in again."""
    write = parquet if name.endswith("parquet") else jsonl
    path = write(tmp_path / "d" / name, rows(20))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "d")
    told = {"files": {name: {}}, "summary": {}, "artifacts": {}, "key": ""}
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(told))
    for out in (tmp_path / "d", link, tmp_path / "x" / ".." / "d"):
        with pytest.raises(ConfigError, match=f"would replace {name}, the data set"):
            check(tmp_path, dataset=str(path), out=str(out))
    check(tmp_path, dataset=str(path), out=str(tmp_path / "elsewhere"))


def test_lists_of_ids_are_inputs_too(data: Path, tmp_path: Path) -> None:
    one = choose(tmp_path, dataset=str(data), **KEYS)
    listed = str(one.out / "selection.parquet")
    with pytest.raises(ConfigError, match=r"would replace selection\.parquet, the exclude list"):
        check(tmp_path, dataset=str(data), out=str(one.out), exclude=listed)


def test_prompts_and_targets_are_inputs_too(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    keys = KEYS | {"dataset": str(data), "store": str(tmp_path / "store"), "out": str(out)}
    gates = {"quality": {"decontamination": [str(out)]}}
    with pytest.raises(ConfigError, match=r"would replace question\.jsonl, the file of prompts"):
        check_no_input(load(None, keys | gates, {}), ["question.jsonl"])
    rds = {"method": "rds+", "rds": {"model": "m", "targets": str(out / "train.jsonl")}}
    with pytest.raises(ConfigError, match=r"would replace train\.jsonl, the file of targets"):
        check_no_input(load(None, keys | rds, {}), ["train.jsonl"])


def test_results_do_not_become_data(tmp_path: Path) -> None:
    jsonl(tmp_path / "d" / "zoo.jsonl", rows(20))
    with pytest.raises(ConfigError, match="is the folder of the data set"):
        check(tmp_path, dataset=str(tmp_path / "d"), out=str(tmp_path / "d"))
    choose(tmp_path / "d", dataset=str(tmp_path / "d"), **KEYS)
    again_ = choose(tmp_path / "d", dataset=str(tmp_path / "d"), **KEYS)  # out/ lies in there now
    assert again_.inputs.instructions.rows == 20


def test_entries_of_other_tools_stay_in_dataset_info(data: Path, tmp_path: Path) -> None:
    info = tmp_path / "out" / "dataset_info.json"
    info.parent.mkdir()
    theirs = {"mine": {"file_name": "mine.json"}, "crowdselect": {"file_name": "old.jsonl"}}
    info.write_text(json.dumps(theirs))
    one = choose(tmp_path, dataset=str(data), export=["sharegpt"], **KEYS)
    told = json.loads(info.read_text())
    assert set(told) == {"mine", "crowdselect", "crowdselect_sharegpt"}
    assert told["mine"] == theirs["mine"]
    assert told["crowdselect"]["file_name"] == "train.jsonl"
    again(one)  # without a layout: our entries go, theirs stay
    assert json.loads(info.read_text()) == {"mine": theirs["mine"]}
    again(one, export=["alpaca"])
    assert set(json.loads(info.read_text())) == {"mine", "crowdselect", "crowdselect_alpaca"}


@pytest.mark.parametrize("held", ["[]", "not json", '{"a": 1}'])
def test_a_dataset_info_of_another_form_is_refused(held: str, data: Path, tmp_path: Path) -> None:
    info = tmp_path / "out" / "dataset_info.json"
    info.parent.mkdir()
    info.write_text(held)
    with pytest.raises(ConfigError, match=r"holds dataset_info\.json, which no manifest"):
        choose(tmp_path, dataset=str(data), export=["sharegpt"], **KEYS)
    assert info.read_text() == held


def test_an_out_that_the_glob_of_the_data_set_covers_is_refused(tmp_path: Path) -> None:
    """Else the second run would read the results of the first."""
    parquet(tmp_path / "data" / "a.parquet", rows(20))
    for glob, out in (("data/*.parquet", "data"), ("**/*.parquet", "data/out")):
        with pytest.raises(ConfigError, match=r"would read .*selection\.parquet"):
            check(tmp_path, dataset=str(tmp_path / glob), out=str(tmp_path / out))
    check(tmp_path, dataset=str(tmp_path / "data/*.parquet"), out=str(tmp_path / "data/out"))
    check(tmp_path, dataset=str(tmp_path / "data/*.jsonl.gz"), out=str(tmp_path / "data"))
