"""vLLM servers on a real Ray cluster of two nodes: the answers of a server of the run's own.

The test endpoint stands in for vLLM. A server's node and the run itself are killed meanwhile.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from command import ROOT, Command, contents, finish
from endpoints import write_rows
from ray_cluster import Cluster, wait
from tinymodel import write_tiny
from vllm_stand_in import StandIn

# slow: two minutes of a core, most of it starts of processes
pytestmark = [pytest.mark.server, pytest.mark.slow]
ROWS = 60
JUDGE = {"name": "judge", "kind": "judge"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes on which a config may name a program, each with what counts as two GPUs."""
    found = Cluster.start({"CROWDSELECT_ALLOW_COMMANDS": "1"}, gpus=2)
    yield found
    found.stop()


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    found = StandIn(tmp_path)
    yield found
    (tmp_path / "go").touch()  # what a test that failed left waiting


@pytest.fixture
def on_ray(cluster: Cluster) -> dict[str, str]:
    """What a run needs in its environment to be on the cluster."""
    return {**cluster.driver, "CROWDSELECT_ALLOW_COMMANDS": "1",
            "CROWDSELECT_EXECUTOR__KIND": "ray",
            "CROWDSELECT_EXECUTOR__ADDRESS": cluster.address}  # fmt: skip


VLLM = ROOT / ".venv-vllm"
HERE = {"CROWDSELECT_ALLOW_COMMANDS": "1"}


def write(folder: Path, engine: dict[str, Any], judge: dict[str, Any] | None = None) -> Path:
    """Write instructions, a model without weights and a config; return the config."""
    write_rows(folder, range(ROWS))
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    engine = {"model": str(model), "concurrency": 8, **engine}
    crowd = [{"name": "m", "family": "f", "size": 1, "engine": engine}]
    rewards = [{**JUDGE, "engine": {"model": str(model), **judge}}] if judge else []
    path = folder / "config.yaml"
    config = {"dataset": str(folder / "data.jsonl"), "crowd": crowd, "reward_models": rewards,
              "clusters": 0, "store": "store", "out": "out"}  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    return path


def tables(folder: Path) -> dict[str, bytes]:
    """Leave the cells out, whose files are named and cut by who wrote them."""
    cells = ("generated/", "scored/")
    return {n: data for n, data in contents(folder / "store").items() if not n.startswith(cells)}


def test_servers_on_two_nodes_give_the_answers_of_one_machine(
    command: Command, cluster: Cluster, on_ray: dict[str, str], stand_in: StandIn, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    engine = stand_in.engine(
        tensor_parallel_size=2, data_parallel_size=2, environment={"HOLD": str(go)}
    )
    config = write(tmp_path, engine, engine)
    go.touch()
    here = command.within(tmp_path / "here")
    for flow in ("generate", "score"):
        here.of(flow).run("--config", config, env=HERE).ended(0)
    assert len(stand_in.starts) == 2  # vLLM itself runs the replicas of one machine

    shown = ""
    there = command.within(tmp_path / "there")
    for flow, starts in (("generate", 4), ("score", 6)):
        go.unlink()
        with there.of(flow).start("--config", config, env=on_ray) as process:
            wait(lambda starts=starts: len(stand_in.starts) == starts, "no two servers", process)
            go.touch()
            shown += finish(process).ended(0).shown
    assert tables(there.cwd) == tables(here.cwd)
    spread = stand_in.servers[2:]
    answering, judging = spread[:2], spread[2:]
    for servers in (answering, judging):
        assert len({server.host for server in servers}) == len(servers) == 2
        assert {server.host for server in servers} <= {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
    assert stand_in.alive == []

    told = [shown.encode(), *contents(there.cwd).values(), *cluster.logs()]
    for server in spread:
        assert server.gpus == "0,1"
        assert server.ray == []  # a token of the cluster is not for a model's code
        assert not any(server.key.encode() in text for text in told)


def test_a_node_is_lost_and_its_server_placed_again(
    command: Command, cluster: Cluster, on_ray: dict[str, str], stand_in: StandIn, tmp_path: Path
) -> None:
    hold = {"HOLD": str(tmp_path / "go")}
    config = write(tmp_path, stand_in.engine(data_parallel_size=2, environment=hold))
    there = command.of("generate").within(tmp_path / "there")
    with there.start("--config", config, env=on_ray) as process:
        wait(lambda: len(stand_in.starts) == 2, "no two servers", process)
        lost = cluster.nodes[1]
        cluster.lose(lost)
        assert len(stand_in.alive) == 1
        cluster.add()
        wait(lambda: len(stand_in.starts) == 3, "no server in its place", process)
        (tmp_path / "go").touch()
        result = finish(process).ended(0)
    assert "its worker or node died" in result.stderr
    assert stand_in.servers[2].host not in (lost.ip, stand_in.servers[0].host)
    assert stand_in.alive == []

    here = command.of("generate").within(tmp_path / "here")
    here.run("--config", config, env=HERE).ended(0)
    assert tables(there.cwd) == tables(here.cwd)


def test_no_server_survives_the_run(
    command: Command, cluster: Cluster, on_ray: dict[str, str], stand_in: StandIn, tmp_path: Path
) -> None:
    """By kill -9 of the run, and by SIGTERM."""
    hold = {"HOLD": str(tmp_path / "go")}
    config = write(tmp_path, stand_in.engine(data_parallel_size=2, environment=hold))
    run = command.of("generate").within(tmp_path / "there")
    for place, number in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
        with run.start("--config", config, env=on_ray) as process:
            wait(lambda: len(stand_in.alive) == 2, "no two servers", process)
            os.killpg(process.pid, number)
            result = finish(process)
        assert result.status in (-number, 128 + number, 130), result.shown
        assert len(stand_in.starts) == 2 * place
        wait(lambda: not stand_in.alive, "a server survives", cluster.nodes[0].process)


def test_what_a_node_lacks_is_said(
    command: Command, cluster: Cluster, on_ray: dict[str, str], stand_in: StandIn, tmp_path: Path
) -> None:
    config = write(tmp_path, stand_in.engine())
    run = command.of("generate").within(tmp_path / "there")
    resources = {"CROWDSELECT_EXECUTOR__RESOURCES": json.dumps({"vllm": {"cpus": 5}})}
    with run.cold().start("--config", config, env={**on_ray, **resources}) as process:
        assert isinstance(process, subprocess.Popen)
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("no node of the Ray cluster has 5 CPU" in line for line in lines)

    told = yaml.safe_load(config.read_text())
    told["crowd"][0]["engine"]["python"] = "/none"
    config.write_text(yaml.safe_dump(told))
    error = run.run("--config", config, env=on_ray).ended(2).error
    assert "'/none' is no program that can be run" in error
    assert "(on Ray node 127.0.0." in error
    assert stand_in.starts == []


@pytest.mark.vllm
@pytest.mark.model
@pytest.mark.skipif(not (VLLM / "ready").exists(), reason="no real vLLM here: make vllm-env")
def test_a_real_server_answers_as_the_model_does_here(
    command: Command, on_ray: dict[str, str], tmp_path: Path
) -> None:
    """In float32, at temperature 0, its answers are those of transformers."""
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    model = str(write_tiny(tmp_path / "model", max_position_embeddings=512, **sizes))
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
             "VLLM_CPU_KVCACHE_SPACE": "1"}  # fmt: skip
    same = {"model": model, "dtype": "float32"}
    served = {"kind": "vllm", "python": str(VLLM / "bin/python"),
              "environment": quiet, "args": {"enforce_eager": True}, **same}  # fmt: skip
    write_rows(tmp_path, range(16))
    run, texts = command.of("generate"), []
    for name, engine, env in (
        ("there", served, on_ray),
        ("here", {"kind": "transformers", **same}, HERE),
    ):
        crowd = [{"name": "m", "family": "f", "size": 1, "engine": engine,
                  "sampling": {"temperature": 0, "max_tokens": 12}}]  # fmt: skip
        config = tmp_path / f"{name}.yaml"
        config.write_text(
            yaml.safe_dump(
                {"dataset": str(tmp_path / "data.jsonl"), "crowd": crowd, "clusters": 0,
                 "store": "store", "out": "out"}
            )
        )  # fmt: skip
        result = run.within(tmp_path / name).run("--config", config, env=env).ended(0)
        assert result.stderr.count("is ready on Ray node") == (name == "there")
        answers = pl.read_parquet(tmp_path / name / "out/responses.parquet")
        texts.append(answers.sort("instruction_id")["text"].to_list())
    assert texts[0] == texts[1]
    assert None not in texts[0]
