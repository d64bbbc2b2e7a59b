"""What a worker of a cluster does with a request, in this process; the cluster is elsewhere."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from little import CROWD, OTHER, REWARD, parquet, rows
from servers import free_port

from crowdselect_core.cluster import worker
from crowdselect_core.cluster.executor import PROCESS, by_needs, needs_of
from crowdselect_core.cluster.outcome import MOST_LINES, RemoteError, answered, read
from crowdselect_core.config.executor import PartResources
from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DamagedArtifact, StorageError
from crowdselect_core.finetune.curve import Step, log_step
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import INSTRUCTIONS, SCORES, SKETCHES
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.executors.base import Needs
from crowdselect_core.store.heartbeat import heartbeat


def config_of(folder: Path, **keys: Any) -> SelectConfig:
    data = parquet(folder / "zoo.parquet", rows(30), row_group_size=5)
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD, OTHER], "budget": 6,
        "shard_rows": 10, "store": str(folder / "store"), "out": str(folder / "out"), **keys,
    }  # fmt: skip
    return load(None, given, {})


def taking(**amounts: Any) -> dict[str, Any]:
    return {"kind": "ray", "resources": {"embeddings": amounts}}


@pytest.fixture
def scores(tmp_path: Path) -> tuple[SelectConfig, Artifact, dict[str, Any]]:
    """A config, its scores, and the request for the first part of them."""
    config = config_of(tmp_path)
    run = InProcess(Store(config.store))
    listed = run(INSTRUCTIONS, config)
    made = run(SCORES, config, listed).open(run.store)
    job = SCORES.job(config, listed)
    text = worker.request(
        "part", made.place.root, job=[job.stage, job.config, job.inputs],
        folder=made.manifest.folder, index=0, finished=[],
    )  # fmt: skip
    return config, made, json.loads(text)


def test_a_part_is_the_shard_that_threads_wrote(
    scores: tuple[SelectConfig, Artifact, dict[str, Any]],
) -> None:
    _, made, request = scores
    shard = made.manifest.shards[0]
    path = Path(made.place.root, made.manifest.folder, shard.name)
    before = path.read_bytes()
    path.unlink()
    with heartbeat(made.place, made.manifest.folder):
        name, count, size, digest, told = worker._do(request)
    assert (name, count, size, digest) == (shard.name, 10, len(before), shard.sha256)
    assert path.read_bytes() == before
    assert told["rows"] == 10


def test_a_node_that_differs_from_the_run_is_refused(
    scores: tuple[SelectConfig, Artifact, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _, made, request = scores
    other = {**request, "versions": {**request["versions"], "polars": "0.1"}}
    with pytest.raises(ConfigError, match=r"this node has polars .*, not 0.1: install on every"):
        worker._do(other)
    monkeypatch.setattr(worker, "SEEN", 0.0)
    with pytest.raises(StorageError, match="does not see what the run writes there"):
        worker._do({**request, "root": str(tmp_path / "elsewhere")})
    renamed = json.loads(request["job"][1]) | {"reward_models": [REWARD]}
    job = [request["job"][0], json.dumps(renamed), request["job"][2]]
    with (
        heartbeat(made.place, made.manifest.folder),
        pytest.raises(ConfigError, match="data set, model or code is, for scores, another one"),
    ):
        worker._do({**request, "job": job})


def test_a_request_has_no_credential(
    monkeypatch: pytest.MonkeyPatch, scores: tuple[SelectConfig, Artifact, dict[str, Any]]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "MARKEDsecret")
    monkeypatch.setenv("PREFECT_API_KEY", "MARKEDkey")
    config, made, _ = scores
    job = SCORES.job(config, InProcess(Store(config.store))(INSTRUCTIONS, config))
    text = worker.request("part", made.place.root, job=[job.stage, job.config, job.inputs])
    assert "MARKED" not in text


def test_errors_come_back_as_what_they_were(caplog: pytest.LogCaptureFixture) -> None:
    def work(error: Exception) -> Any:
        logging.getLogger("crowdselect").warning("look here")
        raise error

    for error, kind, words in [
        (StorageError("no bucket"), StorageError, r"^no bucket \(on Ray node 10.0.0.9\)$"),
        (DamagedArtifact("gone"), DamagedArtifact, r"gone \(on Ray node"),
        (KeyError("x"), RemoteError, r"metrics part 3 failed on Ray node 10.0.0.9: KeyError: 'x'"),
    ]:
        outcome = read(answered("10.0.0.9", lambda error=error: work(error)))
        with pytest.raises(kind, match=words):
            outcome.value("metrics part 3")
    caplog.clear()
    known: set[str] = set()
    outcome.relog(known)
    outcome.relog(known)
    assert caplog.messages == ["look here (Ray node 10.0.0.9)"]
    assert read(answered("n", lambda: {"a": 1})).value("x") == {"a": 1}


def test_the_steps_of_a_training_stay_in_the_log_of_the_worker(
    capfd: pytest.CaptureFixture[str],
) -> None:
    step = Step(3, 60, 1.5, 1e-4, 100.0, 9.0)
    outcome = read(answered("10.0.0.9", lambda: log_step(step)))
    assert outcome.lines == []
    assert "step 3/60  loss 1.5000" in capfd.readouterr().err


def test_lines_that_are_too_many_are_counted_and_in_the_log_of_the_worker(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prefect's console, where another test has imported it, would write to that test's stderr.
    monkeypatch.setattr(logging.getLogger("crowdselect"), "propagate", False)

    def work() -> None:
        for line in [f"row {i}" for i in range(MOST_LINES)] + ["more", "x" * 2000]:
            logging.getLogger("crowdselect").warning(line)

    outcome = read(answered("10.0.0.9", work))
    assert [line for _, line in outcome.lines[-2:]] == [
        f"row {MOST_LINES - 1}", "2 further or longer lines are in the worker's log"
    ]  # fmt: skip
    assert capfd.readouterr().err.split() == ["more", "x" * 2000]


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        ("dask", "threads"),
        ({"kind": "threads", "address": "10.0.0.1:6379"}, "'address' is for kind ray"),
        ({"kind": "ray", "address": "ray://10.0.0.1:10001"}, "expected HOST:PORT or auto"),
        ({"kind": "ray", "address": "local"}, "auto, found 'local': a Ray of its own would end"),
        ({"kind": "ray", "address": "10.0.0.1"}, "expected HOST:PORT or auto, found '10.0.0.1'"),
        (taking(cpus=0), "greater than 0"),
        (taking(cpus=0.000001), "Ray counts in steps of 0.0001, found 1e-06"),
        (taking(gpus=1.5), "expected a share of one GPU, or a whole number of them, found 1.5"),
        (taking(memory="4 gib"), "such as 4GiB, found '4 gib'"),
        ({"kind": "ray", "resources": {"embeddings": 2}},
         r"expected a mapping such as \{cpus: 2, memory: 4GiB\}, found 2"),
    ],
)  # fmt: skip
def test_an_executor_that_cannot_be_is_refused(executor: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        config_of(tmp_path, executor=executor)


def test_amounts_are_what_ray_counts(tmp_path: Path) -> None:
    for size, number in [("4GiB", 4 << 30), ("1.5 MB", 1_500_000), ("7", 7), (8, 8)]:
        given = taking(cpus=1.5, gpus=0.0001, memory=size)
        own = config_of(tmp_path, executor=given).executor.resources["embeddings"]
        assert (own.cpus, own.gpus, own.memory) == (1.5, 0.0001, number)
    assert PartResources(gpus=2).gpus == 2


def test_a_block_of_credentials_does_not_reach_the_nodes(tmp_path: Path) -> None:
    assert config_of(tmp_path, executor="ray").executor.pending == 1000
    with pytest.raises(ConfigError, match="every node has the credentials in its own environment"):
        config_of(tmp_path, executor="ray", credentials_block="bucket")


def test_a_run_on_threads_does_not_import_ray() -> None:
    code = "import flows.select, sys; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_part_that_holds_places_of_all_rows_takes_memory_for_them(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    listed = InProcess(Store(config.store))(INSTRUCTIONS, config)
    for stage in (SKETCHES, SCORES):
        needs = needs_of(stage.job(config, listed))
        assert needs is not None
        assert needs.memory == PROCESS + 8 * 30


def test_parts_that_run_no_model_take_no_gpu() -> None:
    on_gpu, on_cpu = Needs(gpu=True, memory=5), Needs(memory=5)
    assert by_needs(on_gpu, [0, 2, 3, 5], 3) == [(on_cpu, [0, 2]), (on_gpu, [3, 5])]
    assert by_needs(on_gpu, [4, 5], 3) == [(on_gpu, [4, 5])]
    assert by_needs(on_cpu, [0, 5], 3) == [(on_cpu, [0, 5])]


def test_a_cluster_that_is_not_there_is_said_at_once() -> None:
    """In a process of its own: Ray's library puts its symbols before those of the others."""
    code = f"import crowdselect_core.cluster.connection as c; c.connect('127.0.0.1:{free_port()}')"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 1
    assert "ConfigError: executor.address '127.0.0.1:" in ended.stderr
    assert "no Ray cluster can be reached there" in ended.stderr
