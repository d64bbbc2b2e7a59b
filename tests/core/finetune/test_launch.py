"""Training in several processes: their losses, and how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from finetuned import pairs_file, recipe, train_file
from small_job import ROWS, job

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.finetune.base_model import base_model
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.launch import job as jobs
from crowdselect_core.finetune.launch import launcher
from crowdselect_core.finetune.launch.job import Job
from crowdselect_core.finetune.pair_rows import PairTokens, file_pairs
from crowdselect_core.finetune.recipe import layout
from crowdselect_core.finetune.recipe import recipe as recipe_of
from crowdselect_core.finetune.rows import TrainingRows, file_rows

pytestmark = pytest.mark.model

HERE = Path(__file__).parent


def until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == "zombie"
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks that only wait: no TRL is imported in them."""
    monkeypatch.setattr(launcher, "RANK", "waiting_rank")
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def ranks(work: Path) -> list[list[int]]:
    """Return the process ids of the ranks and of their launcher."""
    files = [work / f"rank-{n}" for n in range(2)]
    if not all(f.exists() for f in files):
        return []
    return [[int(word) for word in f.read_text().split()[:2]] for f in files]


RUN = """
import sys
from pathlib import Path
from crowdselect_core.finetune.launch import launcher
from small_job import ROWS, job
launcher.RANK = "waiting_rank"
launcher.launched(job(), ROWS, Path(sys.argv[1]), [], lambda folder, step: None)
"""


@pytest.mark.parametrize("killed", ["run", "launcher", "rank"])
def test_nothing_survives_a_kill(tmp_path: Path, killed: str) -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent)])
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        until(lambda: bool(ranks(tmp_path)) or run.poll() is not None)
        (first, torchrun), (second, same) = ranks(tmp_path)
        assert torchrun == same
        os.kill({"run": run.pid, "launcher": torchrun, "rank": second}[killed], signal.SIGKILL)
        until(lambda: all(gone(pid) for pid in (first, second, torchrun)))
        _, told = run.communicate(timeout=300)
    finally:
        run.kill()
        run.wait()
    if killed != "run":
        assert b"LaunchFailed: training: its processes ended" in told
        (log,) = tmp_path.glob("crowdselect-training-*.log")
        assert str(log).encode() in told
    if killed == "rank":
        assert b"SIGKILL" in told


@pytest.mark.usefixtures("waiting")
def test_a_cancel_ends_the_processes_and_they_have_their_gpus(tmp_path: Path) -> None:
    def cancelled() -> None:
        if ranks(tmp_path):
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        launcher.launched(job(), ROWS, tmp_path, ["5", "7"], lambda f, s: None, None, cancelled)
    assert all(gone(pid) for pids in ranks(tmp_path) for pid in pids)
    assert (tmp_path / "rank-0").read_text().endswith(" 5,7")


@pytest.mark.parametrize("loss", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(tmp_path: Path, tiny: Path, loss: str) -> None:
    """Gradients are added up in another order, so the losses differ by rounding alone.

    9 rows in steps of 4: the last step of an epoch has one row, so the other process has none.
    """
    pytest.importorskip("trl")
    from crowdselect_core.finetune.training import prepare, train
    from crowdselect_core.store.artifacts import Store

    write, read = (train_file, file_rows) if loss == "sft" else (pairs_file, file_pairs)
    rows = read(str(write(tmp_path / "train.jsonl", 9)))
    losses: dict[int, list[float]] = {}
    stored: list[Any] = []
    for processes in (1, 2):
        keys = {"global_batch_size": 4, "num_processes": processes, "num_train_epochs": 3}
        config = TrainingConfig.model_validate(recipe(tiny, save_steps=4, loss=loss, **keys))
        prepared = prepare(config, base_model(config), rows, gpu=False)
        steps: list[Step] = []
        model = train(prepared, Store(str(tmp_path / f"store-{processes}")), steps.append)
        losses[processes] = [step.loss for step in steps]
        assert [step.step for step in steps] == list(range(1, 10))
        stored.append(model.manifest.facts["training"]["recipe"])
        assert {"model/model.safetensors", "training.parquet"} <= set(model.manifest.facts["files"])
    assert losses[2] == pytest.approx(losses[1], rel=1e-4)
    assert stored[0] == stored[1]
    checkpoints = list((tmp_path / "store-2" / "checkpoint").glob("*/manifest.json"))
    assert len(checkpoints) == 2
    assert all("rng_state_1.pth" in file.read_text() for file in checkpoints)


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    for made, rows in (
        (job(), ROWS),
        (job(loss="dpo"), TrainingRows(["a"], [PairTokens([1], [2, 3], [4])])),
    ):
        made.write(tmp_path, rows)
        assert Job.read(tmp_path) == (made, rows)


def test_events_are_read_once_and_only_when_whole(tmp_path: Path) -> None:
    events = jobs.Events(tmp_path)
    assert list(events) == []
    jobs.tell(tmp_path, {"checkpoint": 3})
    with (tmp_path / jobs.EVENTS).open("a") as file:
        file.write('{"checkpo')
    assert list(events) == [3]
    with (tmp_path / jobs.EVENTS).open("a") as file:
        file.write('int": 6}\n')
    assert list(events) == [6]
    assert list(events) == []
    assert not jobs.is_stored(tmp_path, 3)
    jobs.mark_stored(tmp_path, 6)
    assert jobs.is_stored(tmp_path, 3)
    assert not jobs.is_stored(tmp_path, 7)


def test_how_the_processes_are_started(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    words = launcher.command(job(), file)
    assert words[1:4] == ["-m", "torch.distributed.run", "--standalone"]
    assert words[words.index("--nproc_per_node") + 1] == "2"
    assert launcher.command(job(num_processes=1), file)[1:] == ["-m", launcher.RANK, str(file)]
    words = launcher.command(job(launch_config="/etc/fsdp.yaml"), file)
    assert words[1:6] == [
        "-m", "accelerate.commands.launch", "--config_file", "/etc/fsdp.yaml", "--num_processes"
    ]  # fmt: skip
    own = launcher.environment(job(), ["1", "2"], {"OMP_NUM_THREADS": "3"})
    assert (own["CUDA_VISIBLE_DEVICES"], own["OMP_NUM_THREADS"]) == ("1,2", "3")
    seen = launcher.environment(replace(job(), gpu=True), [], {})["CUDA_VISIBLE_DEVICES"]
    assert seen == "0,1"  # one a process, though nothing lists them


def test_the_first_rank_that_gave_up_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a line\n")
    jobs.Failure(1, "", "RuntimeError: connection closed", 2.0).write(tmp_path)
    jobs.Failure(0, "", "OSError: no space", 1.0).write(tmp_path)
    told = launcher._failure(tmp_path, log, 1)
    assert isinstance(told, launcher.LaunchFailed)
    assert "rank 0 first: OSError: no space" in str(told)
    assert "| a line" in str(told)
    jobs.Failure(1, "TrainingDiverged", "training: the loss of step 3 is nan", 3.0).write(tmp_path)
    told = launcher._failure(tmp_path, log, 1)
    assert isinstance(told, ConfigError)
    assert str(told) == "training: the loss of step 3 is nan"
    assert not log.exists()


def test_batches_and_layout_count_the_processes(tmp_path: Path) -> None:
    config = job(global_batch_size=8, per_device_train_batch_size=2).config
    assert config.accumulation == 2
    assert config.steps(9) == 6  # 3 epochs of two steps: 8 rows and 1 row
    with pytest.raises(ValueError, match=r"no multiple of .* 2 x num_processes 2"):
        job(global_batch_size=6, per_device_train_batch_size=2)
    one, two = (layout(job(num_processes=n).config, gpu=False) for n in (1, 2))
    assert one != two
    (tmp_path / "fsdp.yaml").write_text("distributed_type: FSDP\n")
    assert layout(job(launch_config=str(tmp_path / "fsdp.yaml")).config, gpu=False) != two


def test_the_content_of_a_launch_config_is_in_the_key(tmp_path: Path) -> None:
    def named(**keys: Any) -> dict[str, Any]:
        made = job(**keys)
        return recipe_of(made.config, made.base, gpu=False)

    file = tmp_path / "deepspeed.yaml"
    file.write_text("gradient_clipping: 1.0\n")
    first, plain = named(launch_config=str(file)), named()
    assert "launch_config" not in plain
    assert first.items() > plain.items()
    assert file.rename(tmp_path / "moved.yaml").exists()
    assert named(launch_config=str(tmp_path / "moved.yaml")) == first
    file.write_text("gradient_clipping: 0.5\n")
    assert named(launch_config=str(file)) != first
