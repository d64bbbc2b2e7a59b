"""Annotations that workers of a cluster make shard by shard are those of one process."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from little import KEYS, parquet, rows
from tinymodel import write_tiny
from workers import Here, WorkerDied

from crowdselect_core.annotate.base import Annotation, Row
from crowdselect_core.annotate.factory import kind_of
from crowdselect_core.cluster import annotating, cached_calls, worker
from crowdselect_core.cluster.executor import executor_of
from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, Stopped, StorageError
from crowdselect_core.finetune.files import pack
from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.call_tracker import CallTracker, TooManyFailures
from crowdselect_core.planning.annotation_cost import planned_bill
from crowdselect_core.reward.factory import Resources
from crowdselect_core.stages.base import How, InProcess
from crowdselect_core.stages.graph import ANNOTATIONS, ANSWERS, INSTRUCTIONS, METRICS, SCORES
from crowdselect_core.stages.methods.annotations import annotate
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec

Rows = tuple[Ref, Ref, Ref]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer every call in this process, as by a new worker."""
    worker._annotating.cache_clear()
    monkeypatch.setattr(cached_calls, "Calls", Here)


@dataclass
class Longer:
    """Gives a row the lengths of its texts as losses; may fail, or die before some rows."""

    fails: bool = False
    dies_before: set[int] = field(default_factory=set)
    asked: list[bytes] = field(default_factory=list)

    def check(self) -> None: ...

    def close(self) -> None: ...

    def run(self, rows: Iterator[Row], done: Callable[[Annotation], None]) -> None:
        for row in rows:
            if len(self.asked) in self.dies_before:
                self.dies_before.remove(len(self.asked))
                raise WorkerDied
            self.asked.append(row.key)
            if self.fails:
                failure = Failure.INFRASTRUCTURE
                done(Annotation(row.key, error="down: no device", failure=failure))
            else:
                given = float(len(row.instruction)), float(len(row.response))
                done(Annotation(row.key, (*given, len(row.response))))


def config_of(folder: Path, store: str, **keys: Any) -> SelectConfig:
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows(30), row_group_size=5)
    given = KEYS | {"dataset": str(data), "shard_rows": 10, "store": str(folder / store)}
    return load(None, {**given, "executor": "ray", **keys}, {})


def given(config: SelectConfig) -> tuple[Store, Rows]:
    """Return the store, and what is annotated in three shards."""
    run = InProcess(Store(config.store))
    scores = run(SCORES, config, run(INSTRUCTIONS, config))
    metrics = run(METRICS, config, scores)
    return run.store, (scores, metrics, run(ANSWERS, config, scores, metrics))


def table(store: Store, config: SelectConfig, of: Rows) -> list[bytes]:
    built = ANNOTATIONS.build(store, ANNOTATIONS.spec(config, *of), How(), config, *of)
    return [built.bytes(i) for i in range(len(built.manifest.shards))]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Longer, Mapping[str, Any]]:
    """The annotator of every worker, and the keys of a config that asks for it."""
    found = Longer()
    monkeypatch.setattr(worker, "_annotator", lambda config, store, model: found)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return found, {"method": "ifd", "ifd": {"model": str(tmp_path / "model")}}


@pytest.mark.model
@pytest.mark.parametrize("method", ["ifd", "rds+"])
def test_shards_of_workers_make_the_table_of_one_process(tmp_path: Path, method: str) -> None:
    own = {"model": str(write_tiny(tmp_path / "tiny", max_position_embeddings=512))}
    if method == "rds+":
        own["targets"] = str(tmp_path / "targets.jsonl")
        Path(own["targets"]).write_text('{"instruction": "a?", "output": "b"}\n')
    keys = {"method": method, method.rstrip("+"): own}

    config = config_of(tmp_path, "alone", **keys)
    store, of = given(config)
    with closing(kind_of(config).open(config, Resources(str))) as annotator:
        expected = annotate(config, store, *of, annotator, _nothing)
    wanted = table(store, config, of)
    assert len(wanted) == 3

    config = config_of(tmp_path, "spread", **keys)
    store, of = given(config)
    seen: list[int] = []
    calls = annotating.annotate(config, store, of, lambda c: seen.append(c.done), _go_on)
    assert (calls.answered, calls.planned) == (expected.answered, expected.planned)
    assert seen == sorted(seen)
    assert len(seen) == 4  # at the start, and after each shard
    assert table(store, config, of) == wanted

    again = annotating.annotate(config, store, of, _nothing, _go_on)
    assert (again.planned, again.cached) == (0, expected.planned)


@pytest.mark.model
def test_a_model_that_was_trained_first_is_read_from_the_store(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny", max_position_embeddings=512)
    trained = write_tiny(tmp_path / "work" / "model", seed=1, max_position_embeddings=512)
    first = {"rows": 4, "clusters": 1}
    own = {"model": str(tmp_path / "tiny"), "pre_experienced": first}
    config = config_of(tmp_path, "store", method="ifd", ifd=own)
    store, of = given(config)
    names = [f"model/{path.name}" for path in trained.iterdir()]
    model = Ref.of(pack(store, Spec("finetune", 1, {}, {}), tmp_path / "work", names, {}))
    annotating.annotate(config, store, of, _nothing, _go_on, model)
    found = ANNOTATIONS.plan(config, store, *of, {}, model)

    plain = config_of(tmp_path, "plain", method="ifd", ifd={"model": str(trained)})
    store, of = given(plain)
    annotating.annotate(plain, store, of, _nothing, _go_on)
    wanted = ANNOTATIONS.plan(plain, store, *of)
    assert wanted.compute(0).frame["ifd"].null_count() < 5
    for index in range(3):
        assert found.compute(index).frame.equals(wanted.compute(index).frame)


def test_a_lost_worker_s_shard_goes_on_from_its_cells(
    faked: tuple[Longer, Mapping[str, Any]], tmp_path: Path
) -> None:
    annotator, keys = faked
    config = config_of(tmp_path, "alone", **keys)
    store, of = given(config)
    annotate(config, store, *of, annotator, _nothing)
    wanted, asked = table(store, config, of), sorted(annotator.asked)

    annotator.asked.clear()
    annotator.dies_before = {3, 14}  # in the first shard and in the second
    config = config_of(tmp_path, "spread", **keys)
    store, of = given(config)
    annotating.annotate(config, store, of, _nothing, _go_on)
    assert not annotator.dies_before
    assert sorted(annotator.asked) == asked  # each once
    assert table(store, config, of) == wanted


def test_failures_of_all_shards_count_together(
    faked: tuple[Longer, Mapping[str, Any]], tmp_path: Path
) -> None:
    annotator, keys = faked
    annotator.fails = True
    config = config_of(tmp_path, "store", **keys)
    store, of = given(config)
    with pytest.raises(TooManyFailures, match=r"ifd: .* calls failed .* no device"):
        annotating.annotate(config, store, of, _nothing, _go_on)


def test_a_stop_ends_the_calls(faked: tuple[Longer, Mapping[str, Any]], tmp_path: Path) -> None:
    annotator, keys = faked
    config = config_of(tmp_path, "store", **keys)
    store, of = given(config)

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        annotating.annotate(config, store, of, _nothing, stop)
    assert not annotator.asked


def test_a_node_that_would_annotate_something_else_is_refused(
    faked: tuple[Longer, Mapping[str, Any]], tmp_path: Path
) -> None:
    annotator, keys = faked
    config = config_of(tmp_path, "store", **keys)
    store, of = given(config)
    job = ANNOTATIONS.job(config, *of, {}, None)
    folder = ANNOTATIONS.spec(config, *of).folder
    what = {"job": [job.stage, job.config, job.inputs], "folder": folder, "index": 0}
    (tmp_path / "model" / "config.json").write_text('{"other": "weights"}')
    text = worker.request("annotations", store.place.root, **what)
    with pytest.raises(ConfigError, match="model or code is, for annotations, another one"):
        worker._do(json.loads(text))
    text = worker.request("annotations", str(tmp_path / "elsewhere"), **what)
    with pytest.raises(StorageError, match="does not see what the run writes there"):
        worker._do(json.loads(text))
    assert not annotator.asked


def test_what_annotates_in_the_driver(tmp_path: Path) -> None:
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}
    local = {"method": "ifd", "ifd": {"model": "m"}}
    assert annotating.spreads(config_of(tmp_path, "store", **local))
    assert annotating.spreads(config_of(tmp_path, "store", method="rds+"))
    assert not annotating.spreads(config_of(tmp_path, "store", **local, executor="threads"))
    assert not annotating.spreads(config_of(tmp_path, "store"))
    asked = {"method": "instag", "instag": {"engine": engine}}
    assert not annotating.spreads(config_of(tmp_path, "store", **asked))


def test_annotations_may_have_resources_of_their_own(tmp_path: Path) -> None:
    executor = {"kind": "ray", "resources": {"annotations": {"gpus": 0.5}}}
    config = config_of(tmp_path, "store", method="ifd", ifd={"model": "m"}, executor=executor)
    assert executor_of(config, _go_on) is not None
    assert annotating.needs(config).gpu
    config = config_of(tmp_path, "store", method="ifd", ifd={"model": "m", "device": "cpu"})
    assert not annotating.needs(config).gpu


def test_the_bill_says_where_rows_are_read(
    faked: tuple[Longer, Mapping[str, Any]], tmp_path: Path
) -> None:
    config = config_of(tmp_path, "store", **faked[1])
    store, of = given(config)
    wanted = annotating.annotate(config, store, of, _nothing, _go_on).planned
    keys = {"dataset": str(parquet(tmp_path / "more.parquet", rows(31)))}
    config = config_of(tmp_path, "store", **faked[1], **keys)
    store, of = given(config)
    line = planned_bill(config, store, of).line
    assert line.startswith(f"ifd: 1 row to read ({wanted} cached), on the Ray cluster, ")
    here = config.model_copy(update={"executor": type(config.executor)()})
    assert "Ray" not in planned_bill(here, store, of).line


def _nothing(calls: CallTracker) -> None: ...


def _go_on() -> None: ...
