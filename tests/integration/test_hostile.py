"""Somebody plants Prefect result records that hold pickles; no process of ours ever reads one."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from command import Command
from runs import FLAGS, Run
from servers import S3Server
from zoos import Zoo

pytestmark = pytest.mark.server

# A task of Prefect's own whose result is kept: the first run writes a record that names pickle as
# its serializer, the second reads it although it asks for JSON, and executes what it holds.
VICTIM = """
import os, sys
from pathlib import Path
from prefect import flow, task

class Bomb:
    def __reduce__(self):
        return os.mkdir, (os.environ["MARK"],)

serializer = sys.argv[1]

@task(persist_result=True, result_serializer=serializer, result_storage_key="planted",
      cache_key_fn=lambda *_: "planted")
def plant():
    return Bomb()

@flow
def victim():
    plant(return_state=True)

victim()
"""


def stages() -> list[str]:
    """Names by which Prefect could look for the results of our tasks."""
    names = ["instructions", "scores", "metrics", "answers", "embeddings", "clusters", "ranking"]
    return [*names, "selection", "comparison", "export", "select", "planted"]


@pytest.fixture(scope="module")
def record(command: Command, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A record that executes something when Prefect reads it, which is shown first."""
    folder = tmp_path_factory.mktemp("victim")
    environment = {
        **command.environment,
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "store"),
        "MARK": str(folder / "exploded"),
    }

    def run(serializer: str) -> None:
        script = [sys.executable, "-c", VICTIM, serializer]
        done = subprocess.run(script, env=environment, cwd=folder, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr

    run("pickle")
    assert not (folder / "exploded").exists()
    data = (folder / "store" / "planted").read_bytes()
    assert b"pickle" in data
    run("json")
    assert (folder / "exploded").is_dir(), "the record is armed"
    return data


def planted(store: Path, data: bytes, undisturbed: Run) -> list[Path]:
    """Plant the record wherever a reader of results could look, in the store and beside it."""
    whole = undisturbed.folder / "store"
    keys = [p.parent.relative_to(whole) for p in whole.glob("*/*/manifest.json")]
    names = [Path(f"select-{name}") for name in stages()] + [Path(k.name) for k in keys]
    names += [Path(f"{name}.{suffix}") for name in stages() for suffix in ("pkl", "json")]
    names += [k / name for k in keys for name in ("result", "manifest.json.pkl", "manifest.pkl")]
    made = []
    for folder in (store, store.parent, store.parent / "prefect" / "storage"):
        for name in names:
            path = folder / name
            if not path.is_dir() and not (folder / name.parts[0]).is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                made.append(path)
    return made


def test_planted_records_are_neither_read_nor_executed(
    command: Command, flags: list[str], undisturbed: Run, record: bytes, tmp_path: Path
) -> None:
    here, mark = command.within(tmp_path / "run"), tmp_path / "exploded"
    store = here.cwd / "store"
    files = planted(store, record, undisturbed)
    assert len(files) > 100
    env = {
        "PREFECT_LOCAL_STORAGE_PATH": str(store),
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "MARK": str(mark),
    }
    opened = tmp_path / "opened"
    for run in range(2):  # a first run, and one that finds everything in the store
        opened.write_text("")
        here.run(*flags, env=env, opened=str(opened)).ended(0)
        paths = {os.path.realpath(here.cwd / line) for line in opened.read_text().splitlines()}
        assert any(p.endswith("/manifest.json") for p in paths), "reads of the store are seen"
        assert not paths & {os.path.realpath(p) for p in files}, run
    assert not mark.exists()
    assert all(p.read_bytes() == record for p in files)
    whole = pl.read_parquet(undisturbed.folder / "out" / "selection.parquet")
    assert pl.read_parquet(here.cwd / "out" / "selection.parquet").equals(whole)
    left = {p for p in store.rglob("*") if p.is_file()} - set(files)
    assert {str(p.relative_to(store)) for p in left} == {
        str(p.relative_to(undisturbed.folder / "store"))
        for p in (undisturbed.folder / "store").rglob("*")
        if p.is_file()
    }, "nothing of ours is kept as a result either"


def test_planted_records_in_a_bucket_are_not_executed(
    command: Command,
    s3_server: S3Server,
    data: Zoo,
    record: bytes,
    undisturbed: Run,
    tmp_path: Path,
) -> None:
    fs, root = s3_server.file_system(), f"{s3_server.bucket}/{tmp_path.name}"
    whole = undisturbed.folder / "store"
    keys = [str(p.parent.relative_to(whole)) for p in whole.glob("*/*/manifest.json")]
    for name in [*stages(), *keys]:
        fs.pipe_file(f"{root}/{name}.pkl", record)
        fs.pipe_file(f"{root}/{name}/result", record)
    here, mark = command.within(tmp_path), tmp_path / "exploded"
    env = {**s3_server.environment(), "MARK": str(mark),
           "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"}  # fmt: skip
    here.run(*data.flags, *FLAGS, "--store", f"s3://{root}", "--out", "out", env=env).ended(0)
    assert not mark.exists()
    found = pl.read_parquet(here.cwd / "out" / "selection.parquet")
    assert found.equals(pl.read_parquet(undisturbed.folder / "out" / "selection.parquet"))
