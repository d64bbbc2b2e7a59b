"""A part of a stage follows from its job and its index: any process computes the same bytes."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from little import CROWD, OTHER, REWARD, parquet, rows

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import How, InProcess, Stage
from crowdselect_core.stages.graph import INSTRUCTIONS, SCORES, STAGES, compute, finish
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Finished, Store
from crowdselect_core.store.executors.base import Job, Parts
from flows.select import chosen


def config_of(folder: Path, **keys: Any) -> SelectConfig:
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows(30), row_group_size=5)
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD, OTHER], "budget": 6,
        "clusters": 2, "shard_rows": 10, "export": ["pairs"], "store": str(folder / "store"),
        "out": str(folder / "out"), **keys,
    }  # fmt: skip
    return load(None, given, {})


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@dataclass
class Jobs:
    """Runs stages in this process and keeps the jobs of those that were run."""

    store: Store
    jobs: list[tuple[Job, Ref]] = field(default_factory=list)

    def __call__(self, stage: Stage[Any], config: SelectConfig, *inputs: Any, **named: Any) -> Ref:
        ref = InProcess(self.store)(stage, config, *inputs, **named)
        self.jobs.append((stage.job(config, *inputs, **named), ref))
        return ref


def test_another_process_computes_every_part_from_texts_alone(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    run = Jobs(Store(config.store))
    chosen(config, run=run)
    before = files(tmp_path / "store")
    asked, expected = [], []
    for job, ref in run.jobs:
        shards = ref.open(run.store).manifest.shards
        for index in {0, len(shards) - 1}:
            folder = f"{ref.stage}/{ref.key}"
            asked.append({**asdict(job), "folder": folder, "index": index})
            expected.append(shards[index].name)
    assert len({job.stage for job, _ in run.jobs}) == 13
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("part.py")), config.store],
        input=json.dumps(asked), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == expected
    assert files(tmp_path / "store") == before


@dataclass(frozen=True)
class Elsewhere:
    """Sends every part to another process: a job and an index, and nothing of this process."""

    pool: ProcessPoolExecutor

    def run(self, parts: Parts, indices: Iterable[int]) -> Iterator[Finished]:
        assert parts.job is not None
        for index in indices:
            names = list(parts.finished.get(index, ()))
            work = self.pool.submit(finish, parts.job, parts.root, parts.folder, index, names)
            yield work.result()


def test_an_executor_in_other_processes_builds_the_same_store(tmp_path: Path) -> None:
    here, there = config_of(tmp_path), config_of(tmp_path, store=str(tmp_path / "elsewhere"))
    chosen(here, run=InProcess(Store(here.store)))
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        chosen(there, run=InProcess(Store(there.store), How(executor=Elsewhere(pool))))
    assert files(tmp_path / "elsewhere") == files(tmp_path / "store")


def test_a_process_that_goes_on_reads_a_changed_file_anew(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    here, there = Store(config.store), Store(str(tmp_path / "elsewhere"))
    for count in (30, 12):  # the second time the same job, of another file of the same name
        parquet(Path(config.dataset.path), rows(count), row_group_size=5)
        listed = InProcess(here)(INSTRUCTIONS, config).open(here).manifest
        job = INSTRUCTIONS.job(config)
        made = [
            finish(job, there.place.root, listed.folder, index, ())[0]
            for index in range(len(listed.shards))
        ]
        assert tuple(made) == listed.shards


def test_the_parts_of_a_job_are_those_of_its_plan(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    store = Store(config.store)
    listed = InProcess(store)(INSTRUCTIONS, config)
    job = SCORES.job(config, listed)
    plan = SCORES.plan(config, store, listed)
    assert plan.total == 3
    for index in range(plan.total):
        assert compute(job, store, index).frame.equals(plan.compute(index).frame)
    with pytest.raises(IndexError, match="scores: part 3 of 3"):
        compute(job, store, 3)
    with pytest.raises(KeyError):
        compute(Job("nothing", job.config, job.inputs), store, 0)


def test_a_job_holds_no_key_of_the_config_beside_those_of_a_selection(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    job = INSTRUCTIONS.job(config)
    assert SelectConfig.model_validate_json(job.config) == config
    assert json.loads(job.inputs) == {"earlier": None}


def test_every_stage_of_the_library_is_in_the_graph() -> None:
    found = {
        name
        for module in list(sys.modules.values())
        if (getattr(module, "__name__", "")).startswith("crowdselect_core.stages.")
        for name in (s.name for s in vars(module).values() if isinstance(s, Stage))
    }
    assert found == set(STAGES)
    for name, stage in STAGES.items():
        assert (stage.name, stage.description != "") == (name, True)
        assert set(stage.inputs) == set(stage._inputs.model_fields)
