"""Models on a real Ray cluster of two nodes: IFD, and the trained cells of an experiment."""

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
import yaml
from command import Command, Process, contents, finish
from finetuned import recipe
from polars.testing import assert_frame_equal
from ray_cluster import Cluster, title, wait
from runs import FLAGS, PLACES
from servers import S3Server
from tinymodel import write_tiny
from zoos import Zoo, write_zoo

from crowdselect_core.finetune.work_folder import PREFIX

pytest.importorskip("trl")
# slow: minutes of a core, most of it imports of torch and TRL by workers
pytestmark = [pytest.mark.server, pytest.mark.model, pytest.mark.slow]


def test_a_worker_is_lost_while_it_reads_rows_for_ifd(
    command: Command, cluster: Cluster, on_ray: dict[str, str], data: Zoo,
    bucket: str, s3_server: S3Server, tmp_path: Path,
) -> None:  # fmt: skip
    """The tables are those of one process, near-duplicates included."""
    model = write_tiny(tmp_path / "tiny", max_position_embeddings=512)
    config = tmp_path / "config.yaml"
    ifd = {"model": str(model), "device": "cpu"}
    quality = {"duplicates": {"near": 0.8}}
    config.write_text(yaml.safe_dump({"method": "ifd", "ifd": ifd, "quality": quality}))
    flags = [*data.flags, *FLAGS[:2], "--clusters", "0", *FLAGS[4:], "--config", config]
    select = command.with_models()
    select.within(tmp_path / "threads").run(*flags, *PLACES).ended(0)

    spread = [*flags, "--store", bucket, "--out", "out"]
    with select.within(tmp_path / "spread").start(*spread, env=on_ray) as process:
        cluster.hold("annotations", cluster.nodes[0], process).kill()
        result = finish(process).ended(0)
    assert {"sketches", "annotations"} <= set(result.stages(" parts on "))
    assert "its worker or node died" in result.stderr

    wanted = contents(tmp_path / "threads" / "store")
    assert tables(s3_server.stored(bucket)) == tables(wanted)


def tables(store: dict[str, bytes]) -> dict[str, bytes]:
    """Leave the cells out, whose files are named and cut by who wrote them."""
    return {name: data for name, data in store.items() if not name.startswith("annotated/")}


def test_a_worker_is_lost_while_it_trains_a_cell(
    command: Command, cluster: Cluster, on_ray: dict[str, str],
    bucket: str, s3_server: S3Server, tmp_path: Path,
) -> None:  # fmt: skip
    """The experiment is that of one process, and the training goes on from its checkpoint."""
    write_tiny(tmp_path / "tiny")
    write_zoo(tmp_path / "zoo", 80)
    here = command.of("experiment").with_models().within(tmp_path)
    file = experiment(tmp_path)
    spread = ["--config", file, "--store", bucket, "--out", "spread"]
    with here.start(*spread, env=on_ray) as process:
        hold_after_a_checkpoint(cluster, process).kill()
        result = finish(process).ended(0)
    assert "training" in result.stages("its worker or node died")
    assert result.stages("goes on from step") == ["checkpoint"]
    assert result.stages("1 parts on 1 Ray nodes").count("training") == 2
    assert result.stages(" parts on ").count("heldout-loss") == 2
    assert result.stages(" parts on ").count("benchmark-answers") >= 3

    here.run("--config", file, "--store", "store", "--out", "threads").ended(0)
    results, wanted = (
        pl.read_parquet(tmp_path / out / "experiment.parquet").drop("cost_seconds", "cached")
        for out in ("spread", "threads")
    )
    assert_frame_equal(results, wanted)
    models = {name for name in contents(tmp_path / "store") if name.startswith("model/")}
    assert {name for name in s3_server.names(bucket) if name.startswith("model/")} == models


def experiment(folder: Path) -> Path:
    """Write the config of two cells, each a training of 24 steps."""
    path = folder / "experiment.yaml"
    reward = {"name": "pmi", "kind": "likelihood", "model": str(folder / "tiny"),
              "device": "cpu", "conformance": False}  # fmt: skip
    keys: dict[str, Any] = {
        "dataset": "zoo/zoo.parquet", "crowd": "zoo/crowd.yaml",
        "heldout": {"share": 0.2, "answers": "best"},
        "experiment": {
            "methods": ["crowdselect", "random"], "clusters": [0], "budgets": [4], "seeds": [0],
            "controls": ["untuned"],
            "primary": {"method": "crowdselect", "baseline": "random", "clusters": 0},
        },
        "training": recipe(folder / "tiny", num_train_epochs=12),
        "evaluation": {
            "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu"},
            "benchmarks": [
                {"kind": "heldout-loss"},
                {"kind": "reward-win-rate", "max_tokens": 4, "limit": 6, "reward_model": reward},
            ],
        },
    }  # fmt: skip
    path.write_text(yaml.safe_dump(keys))
    return path


def hold_after_a_checkpoint(cluster: Cluster, process: Process) -> psutil.Process:
    """Stop a worker whose training has written its second checkpoint, the first being stored."""
    held = cluster.hold("training", cluster.nodes[1], process)
    held.resume()
    folder, own = Path(tempfile.gettempdir()), f"{PREFIX}{held.pid}-*/checkpoint-6"
    wait(lambda: any(folder.glob(own)), "no checkpoint", process)
    held.suspend()
    assert title(held.pid).endswith("training"), "it has trained to the end meanwhile"
    return held
