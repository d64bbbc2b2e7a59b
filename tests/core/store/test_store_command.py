"""`python -m crowdselect_core.store`: what it prints, and how it ends."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command import ROOT
from disks import Disk
from numbers_stage import SPEC, Work
from servers import S3Server, free_port

from crowdselect_core.store.admin.cli import main
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend import s3 as bucket
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import cell_key
from crowdselect_core.store.checksummed_json import dumps_checksummed
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.manifest import Manifest
from crowdselect_core.store.names import FILE

OTHER = replace(SPEC, identity={**SPEC.identity, "seed": 8})
CELLS = Spec("scored", 1, {"m": 1})
THIRD = Spec("third", 2, {"seed": 8})


@pytest.fixture
def filled(store: Store, root: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of two artifacts of a stage, an unfinished one, and cells; it is the default one."""
    monkeypatch.setenv("CROWDSELECT_STORE", root)
    build(store, SPEC, Work().plan)
    build(store, OTHER, Work(shard_rows=30).plan)

    def die(index: int) -> None:
        if index == 2:
            raise KeyError(index)

    with pytest.raises(KeyError):
        build(store, THIRD, Work(before=die).plan)
    cells = CallCache(store, CELLS, {"text": pl.String})
    cells.commit([(cell_key(b"1"), "text")])
    return store


class Said:
    """What the command said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> None:
        capsys.readouterr()
        assert main(argv) == status
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def test_ls(filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    found = Said(capsys, "ls", "--json").json
    sizes: dict[str, int] = {}
    for name, data in disk.files().items():
        sizes[name.rsplit("/", 1)[0]] = sizes.get(name.rsplit("/", 1)[0], 0) + len(data)
    assert {(e["stage"], e["state"], e["rows"], e["files"]) for e in found["artifacts"]} == {
        ("numbers", "complete", 60, 6),
        ("numbers", "complete", 60, 2),
        ("scored", "cells", None, 1),
        ("third", "unfinished", None, 2),
    }
    assert {f"{e['stage']}/{e['key']}": e["bytes"] for e in found["artifacts"]} == sizes
    lines = Said(capsys, "ls").out.splitlines()
    assert lines[0].startswith("numbers (2): 120 rows, ")
    assert [line.split()[:2] for line in lines if line.startswith("  ")] == [
        [e["key"][:12], e["state"]] for e in found["artifacts"]
    ]


def test_ls_names_what_separates_the_artifacts_of_a_stage(
    filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends() -> dict[str, str]:
        lines = Said(capsys, "ls").out.splitlines()
        return {line.split()[0]: line.split("  ")[-1] for line in lines if line.startswith("  ")}

    said = ends()
    assert said[SPEC.key[:12]] == "seed=7"
    assert said[OTHER.key[:12]] == "seed=8"
    assert said[CELLS.key[:12]] == "m=1", "the only one of its stage is told by its identity"
    assert said[THIRD.key[:12]].endswith("B"), "an unfinished one has told nothing yet"
    found = {e["key"]: e["made_of"] for e in Said(capsys, "ls", "--json").json["artifacts"]}
    assert found[SPEC.key] == {"version": 1, "identity": SPEC.identity, "inputs": SPEC.inputs}
    assert found[CELLS.key]["identity"] == {"m": 1}
    assert found[THIRD.key] == {}
    disk.flip(f"{CELLS.folder}/identity.json", 3)
    assert ends()[CELLS.key[:12]].endswith("B")


def test_show_of_cells(filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    other = Spec("scored", 1, {"m": {"name": 2}})
    CallCache(filled, other, {"text": pl.String}).commit([(cell_key(b"1"), "text")])
    lines = Said(capsys, "show", CELLS.key[:8]).out.splitlines()
    assert lines == [CELLS.folder, "version 1, cells", "identity: {", '   "m": 1', "  }"]
    told = Said(capsys, "show", "--json", CELLS.folder).out
    assert told.encode() == disk.files()[f"{CELLS.folder}/identity.json"]
    out = Said(capsys, "show", CELLS.key, other.key).out
    assert out.splitlines()[1:] == ['  identity.m: 1 -> {"name":2}']
    out = Said(capsys, "show", CELLS.key, SPEC.key).out
    assert '  stage: "scored" -> "numbers"' in out
    disk.flip(f"{CELLS.folder}/identity.json", 3)
    err = Said(capsys, "show", CELLS.key, status=2).err
    assert "identity.json is unreadable; run verify --remove; it comes back with the next" in err
    disk.remove(f"{CELLS.folder}/identity.json")
    assert (
        "identity.json is not there; it comes back" in Said(capsys, "show", CELLS.key, status=2).err
    )


def test_ls_tells_damage_that_shows_without_reading_the_shards(
    filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.write(next(n for n in disk.files() if f"{SPEC.folder}/part-" in n), b"")
    disk.flip(f"{OTHER.folder}/{FILE}")
    states = {e["key"]: e["state"] for e in Said(capsys, "ls", "--json").json["artifacts"]}
    assert (states[SPEC.key], states[OTHER.key]) == ("damaged", "damaged")


def test_ls_of_many_reads_every_manifest(
    filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str], root: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    wanted = set()
    for seed in range(bucket.FEW + 10):
        spec = Spec("many", 1, {"seed": seed})
        wanted.add((spec.key, 7 * seed))
        data = Manifest("many", 1, spec.key, spec.identity, {}, 0, {}, (), {"n": seed}).encode()
        disk.write(f"{spec.folder}/{FILE}", data)
    if root.startswith("s3://"):  # by URL: none of them may come the slow way
        place = open_backend(root)
        monkeypatch.setattr(place, "read", lambda name: pytest.fail(name))
        names = [f.name for f in place.walk("many")]
        assert dict(place.read_all(names)) == {n: disk.files("many")[n] for n in names}
    found = Said(capsys, "ls", "--json").json["artifacts"]
    assert [e["rows"] for e in found if e["stage"] == "many"] == [0] * len(wanted)
    gone = f"many/{'0' * 64}/{FILE}"
    names = [f"many/{key}/{FILE}" for key, _ in sorted(wanted)]
    read = dict(filled.place.read_all([*names, gone]))
    assert list(read) == [*names, gone]
    assert read[gone] is None
    assert all(read[name] == disk.files("many")[name] for name in names)


def test_show(filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Said(capsys, "show", SPEC.key[:6]).out.splitlines()
    assert lines[0] == SPEC.folder
    assert lines[1].startswith("version 1, 60 rows, 6 shards, ")
    assert '  "seed": 7' in "\n".join(lines)
    assert sum("part-0000" in line for line in lines) == 6
    told = Said(capsys, "show", "--json", f"numbers/{SPEC.key[:6]}").out
    assert told.encode() == disk.files()[f"{SPEC.folder}/{FILE}"]


def test_show_names_the_field_that_separates_two(
    filled: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Said(capsys, "show", SPEC.key, OTHER.key).out
    assert out.splitlines()[1:] == ["  identity.seed: 7 -> 8"]
    assert "the same artifact" in Said(capsys, "show", SPEC.key, SPEC.key).out
    found = Said(capsys, "show", "--json", SPEC.key, OTHER.key).json
    assert found["differences"] == ["identity.seed: 7 -> 8"]


@pytest.mark.parametrize(
    ("key", "said"),
    [("zz", "no artifact's key begins with zz"), ("numbers", "2 artifacts begin with numbers"),
     ("third", "is unfinished: it has 2 shards"), ("a\x1b[31m\nb", r"a\x1b[31m\nb")],
)  # fmt: skip
def test_show_says_what_it_cannot_show(
    filled: Store, capsys: pytest.CaptureFixture[str], key: str, said: str
) -> None:
    err = Said(capsys, "show", key, status=2).err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_verify(filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    assert "2 artifacts and 1 folders of cells, 13 files" in Said(capsys, "verify").out
    name = next(n for n in disk.files() if "/part-00001" in n)
    disk.flip(name)
    said = Said(capsys, "verify", status=1).out
    assert said.startswith(f"damaged: {name}: sha256 differs\n")
    assert "1 damaged or missing; --remove removes them" in said
    found = Said(capsys, "verify", "--remove", "--json", "--workers", "1", status=1).json
    assert found["removed"] == [name]
    assert found["findings"] == [
        {"kind": "damaged", "name": name, "why": "sha256 differs", "removable": True}
    ]
    assert name not in disk.files()


def test_gc(filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]) -> None:
    assert Said(capsys, "gc").out == "nothing to remove\n", "younger than a day"
    time.sleep(1.1)  # a server may keep whole seconds only
    before = disk.files()
    said = Said(capsys, "gc", "--older-than", "0s").out
    assert f"unfinished artifact: {THIRD.folder} (2 files, " in said
    assert "--delete removes them" in said
    assert disk.files() == before
    told = Said(capsys, "gc", "--older-than", "0s", "--delete", "--json").json
    assert [g["name"] for g in told["garbage"]] == [THIRD.folder]
    assert not disk.files(THIRD.folder)
    assert len(disk.files()) == len(before) - 2


def test_gc_of_what_is_unused_needs_records(
    filled: Store, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    err = Said(capsys, "gc", "--unused", status=2).err
    assert "no record that names an artifact" in err
    disk.write("selections/a/000001.json", dumps_checksummed({"artifacts": {"r": OTHER.folder}}))
    time.sleep(1.1)
    Said(capsys, "gc", "--unused", "--older-than", "0.01s", "--delete")
    left = {e["key"] for e in Said(capsys, "ls", "--json").json["artifacts"]}
    assert left == {OTHER.key, Spec("scored", 1, {"m": 1}).key}


# From here on: without a server.


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("ls", "verify", "gc"):
        err = Said(capsys, command, "--store", str(tmp_path / "no"), status=2).err
        assert err == (f"error: {tmp_path}/no: no such store; pass its folder or URL by --store\n")
    assert "nothing is here" in Said(capsys, "ls", "--store", str(tmp_path)).out


@pytest.mark.parametrize("flags", [["--older-than", "1"], ["--older-than", "-1h"], ["--x"]])
def test_flags_that_cannot_be(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gc", *flags])
    assert ended.value.code == 2


@pytest.mark.server
@pytest.mark.parametrize("command", ["ls", "verify", "gc", "show"])
def test_places_that_cannot_be_read(
    s3: S3Server, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem  # which keeps those it has made, whatever the environment says

    argv = [command, *(["a"] if command == "show" else []), "--store"]
    err = Said(capsys, *argv, "s3://nosuch/store", status=2).err
    assert err.startswith("error: cannot list s3://nosuch/store")
    assert "the bucket does not exist" in err
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "MARKEDwrong")
    err = Said(capsys, *argv, f"s3://{s3.bucket}/wrong-keys", status=2).err
    assert "access denied" in err
    assert "MARKED" not in err
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    err = Said(capsys, *argv, f"s3://{s3.bucket}/down", status=2).err
    assert "check AWS_ENDPOINT_URL and that the server runs" in err
    S3FileSystem.clear_instance_cache()


def test_as_a_process(tmp_path: Path) -> None:
    code = "import sys, runpy; sys.argv[1:] = ['ls', '--store', '.']; "
    code += "sys.exit = lambda s: print(s, [m for m in sys.modules if m in ('prefect', 'polars', "
    code += "'torch')]); runpy.run_module('crowdselect_core.store', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "nothing is here\n0 []\n"
