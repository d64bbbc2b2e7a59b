"""A selection on a real Ray cluster of two nodes with its store in a bucket: the bytes of threads.

One story, since starts of processes are what it costs: the run is cancelled, killed, and at last it
loses a worker and a node.
"""

import os
import signal
from pathlib import Path

import pytest
from command import Command, contents, finish
from ray_cluster import UP, Cluster, wait
from runs import FLAGS, Server
from servers import ADMIN, S3Server
from zoos import Zoo

pytestmark = pytest.mark.server
AFTER_ANSWERS = {"sketches", "embeddings", "clusters", "lengths"}
QUALITY = "quality: {duplicates: {near: 0.8}}\n"


def test_a_run_that_is_cancelled_and_killed_and_loses_a_node_leaves_the_bytes_of_threads(
    command: Command, cluster: Cluster, on_ray: dict[str, str], data: Zoo, flags: list[str],
    bucket: str, s3_server: S3Server, server: Server, tmp_path: Path,
) -> None:  # fmt: skip
    near = tmp_path / "near.yaml"
    near.write_text(QUALITY)
    command.within(tmp_path / "threads").run(*flags, "--config", near).ended(0)
    wanted = contents(tmp_path / "threads" / "store")
    here = command.within(tmp_path / "spread")
    spread = [*data.flags, *FLAGS, "--store", bucket, "--out", "out", "--config", str(near)]

    with here.start(*spread, env=on_ray) as process:
        held = cluster.hold("scores", cluster.nodes[0], process)
        server.cancel(server.latest())
        finish(process).ended(130)
        held.wait(timeout=UP)
    assert not cluster.running(), "a cancel reaches the workers"

    with here.start(*spread, env=on_ray) as process:
        held = cluster.hold("answers", cluster.nodes[1], process)
        wait(lambda: shards(s3_server, bucket, "answers"), "no shard", process)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process).ended(-signal.SIGKILL)
        held.resume()
        held.wait(timeout=UP)  # Ray ends the workers of a run that is gone
    left = s3_server.stored(bucket)
    assert {name: wanted[name] for name in left} == left

    with here.start(*spread, env=on_ray) as process:
        cluster.hold("answers", cluster.nodes[0], process).kill()
        lost = cluster.nodes[1]
        cluster.hold("embeddings", lost, process)
        cluster.lose(lost)
        result = finish(process).ended(0)
    assert s3_server.stored(bucket) == wanted
    assert "answers: resuming from" in result.stderr
    assert {"answers", "embeddings"} <= set(result.stages("its worker or node died"))
    assert set(result.stages(" parts on ")) >= AFTER_ANSWERS
    lines = server.lines(server.latest())
    assert any("parts on" in line and "Ray node" in line for line in lines)
    for text in (*lines, result.shown):
        assert not any(secret in text for secret in ADMIN)
    for log in cluster.logs():
        assert not any(secret.encode() in log for secret in ADMIN)


def shards(server: S3Server, store: str, stage: str) -> bool:
    """Tell whether a stage has a finished shard."""
    return any(n.startswith(f"{stage}/") and n.endswith(".parquet") for n in server.names(store))
