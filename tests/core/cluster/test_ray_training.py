"""A training that a worker of a cluster does is that of one process, also where the worker dies."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetuned import recipe, train_file
from tinymodel import write_tiny
from workers import Here, WorkerDied

from crowdselect_core.cluster import training as spread
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.rows import file_rows
from crowdselect_core.finetune.training import Prepared, prepare, train
from crowdselect_core.store.artifacts import Artifact, Store

pytest.importorskip("trl")
pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer every call in this process."""
    monkeypatch.setattr(spread, "Calls", Here)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


def prepared(folder: Path, tiny: Path, **keys: Any) -> Prepared:
    """Return a training of 10 steps with a checkpoint after 3, 6 and 9."""
    file = train_file(folder / "train.jsonl")
    config = TrainingConfig.model_validate(recipe(tiny, train_file=str(file), **keys))
    return prepare(config, base_model(config), file_rows(str(file)), gpu=False)


def spread_out(
    wanted: Prepared, store: Store, gpu: bool = False, check: Callable[[], None] = lambda: None
) -> Artifact:
    executor, licenses = ExecutorConfig(kind="ray"), {"ant-1b": "mit"}
    return spread.train(executor, store, wanted.config, None, wanted.spec, gpu, licenses, check)


def files(model: Artifact) -> dict[str, str]:
    return {n: f["sha256"] for n, f in model.manifest.facts["files"].items() if "README" not in n}


def test_a_lost_worker_leaves_the_model_of_one_process(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    wanted = prepared(tmp_path, tiny)
    alone = train(wanted, Store(str(tmp_path / "alone")))
    save, deaths = Checkpoints.save, [6]

    def dies_after(self: Checkpoints, folder: Path, step: int, facts: Any = None) -> None:
        save(self, folder, step, facts)
        if step in deaths:
            deaths.remove(step)
            raise WorkerDied

    monkeypatch.setattr(Checkpoints, "save", dies_after)
    model = spread_out(wanted, Store(str(tmp_path / "spread")))
    assert not deaths
    assert "goes on from step 6" in caplog.text
    assert "step 10/10  loss " in capfd.readouterr().err, "steps are in the log of the worker"
    assert (model.key, files(model)) == (alone.key, files(alone))
    told = model.manifest.facts["training"]
    assert told["licenses"]["answers"] == {"ant-1b": "mit"}


def test_a_node_that_would_train_another_model_refuses(tmp_path: Path, tiny: Path) -> None:
    wanted, store = prepared(tmp_path, tiny), Store(str(tmp_path / "store"))
    with pytest.raises(ConfigError, match="the run's process sees a GPU and this training none"):
        spread_out(wanted, store, gpu=True)
    train_file(tmp_path / "train.jsonl", rows=4)
    with pytest.raises(ConfigError, match="this node's base model or training rows are another"):
        spread_out(wanted, store)
    assert store.find(wanted.spec) is None


def test_a_stopped_run_trains_nothing(tmp_path: Path, tiny: Path) -> None:
    wanted, store = prepared(tmp_path, tiny), Store(str(tmp_path / "store"))

    def stop() -> None:
        raise Stopped("the run was cancelled")

    with pytest.raises(Stopped):
        spread_out(wanted, store, check=stop)
    assert store.find(wanted.spec) is None
