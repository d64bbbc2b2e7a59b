"""A run on a real Ray cluster of two nodes with its store in a bucket: the bytes of threads.

A worker, a node and the run itself are killed while a part is computed.
"""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command import Command, contents, finish
from ray_cluster import UP, Cluster, wait
from runs import FLAGS, PLACES, Server
from servers import ADMIN, S3Server
from tinymodel import write_tiny
from zoos import Zoo

# slow: three minutes of a core, most of it starts of processes
pytestmark = [pytest.mark.server, pytest.mark.slow]
SPREAD = ("scores", "metrics", "answers", "embeddings", "clusters", "lengths")


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[Cluster]:
    """Two nodes whose environment has the credentials of the bucket."""
    found = Cluster.start(s3_server.environment())
    yield found
    found.stop()


@pytest.fixture(scope="module")
def environment(cluster: Cluster, s3_server: S3Server) -> dict[str, str]:
    """What a run needs in its environment."""
    return {**s3_server.environment(), **cluster.driver,
            "CROWDSELECT_EXECUTOR__KIND": "ray",
            "CROWDSELECT_EXECUTOR__ADDRESS": cluster.address}  # fmt: skip


@pytest.fixture
def store(s3_server: S3Server) -> str:
    """The URL of an empty store."""
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def wanted(
    command: Command, flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The files of the store of a run on threads."""
    folder = tmp_path_factory.mktemp("threads")
    command.within(folder).run(*flags).ended(0)
    return contents(folder / "store")


@pytest.fixture
def in_bucket(data: Zoo, store: str) -> list[str | Path]:
    return [*data.flags, *FLAGS, "--store", store, "--out", "out"]


def stored(server: S3Server, store: str) -> dict[str, bytes]:
    fs, top = server.file_system(), store.removeprefix("s3://")
    found = fs.find(top, detail=True)
    files = [p for p, i in found.items() if i["type"] == "file" and "/.tmp-" not in p]
    return {p.removeprefix(f"{top}/"): fs.cat_file(p) for p in files}


def test_two_nodes_leave_the_bytes_of_threads(
    command: Command, cluster: Cluster, environment: dict[str, str], in_bucket: list[str | Path],
    store: str, s3_server: S3Server, wanted: dict[str, bytes], server: Server, tmp_path: Path,
) -> None:  # fmt: skip
    result = command.within(tmp_path).run(*in_bucket, env=environment).ended(0)
    assert stored(s3_server, store) == wanted
    assert set(result.stages(" parts on ")) == set(SPREAD)
    lines = server.lines(server.latest())
    assert any("parts on" in line and "Ray node" in line for line in lines)
    assert not cluster.running()
    for text in (*lines, result.shown):
        assert not any(secret in text for secret in ADMIN)
    for log in cluster.logs():
        assert not any(secret.encode() in log for secret in ADMIN)


def test_a_worker_and_a_node_are_lost(
    command: Command, cluster: Cluster, environment: dict[str, str], in_bucket: list[str | Path],
    store: str, s3_server: S3Server, wanted: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    here = command.within(tmp_path)
    with here.start(*in_bucket, env=environment) as process:
        cluster.hold("scores", cluster.nodes[0], process).kill()
        lost = cluster.nodes[1]
        cluster.hold("embeddings", lost, process)
        cluster.lose(lost)
        result = finish(process).ended(0)
    assert stored(s3_server, store) == wanted
    for stage in ("scores", "embeddings"):
        assert f"{stage} part" in result.stderr
    assert result.stderr.count("its worker or node died") >= 2
    cluster.add()


def test_the_run_is_killed_and_started_again(
    command: Command, cluster: Cluster, environment: dict[str, str], in_bucket: list[str | Path],
    store: str, s3_server: S3Server, wanted: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    here = command.within(tmp_path)
    with here.start(*in_bucket, env=environment) as process:
        held = cluster.hold("answers", cluster.nodes[1], process)
        wait(lambda: any("answers/" in n for n in stored(s3_server, store)), "no shard", process)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process).ended(-signal.SIGKILL)
        held.resume()
        held.wait(timeout=UP)  # Ray ends the workers of a run that is gone
    left = stored(s3_server, store)
    assert {name: wanted[name] for name in left} == left
    result = here.run(*in_bucket, env=environment).ended(0)
    assert "answers: resuming from" in result.stderr
    assert stored(s3_server, store) == wanted


def test_a_cancel_reaches_the_workers(
    command: Command, cluster: Cluster, environment: dict[str, str], in_bucket: list[str | Path],
    server: Server, tmp_path: Path,
) -> None:  # fmt: skip
    with command.within(tmp_path).start(*in_bucket, env=environment) as process:
        held = cluster.hold("metrics", cluster.nodes[0], process)
        server.cancel(server.latest())
        finish(process).ended(130)
        held.wait(timeout=UP)
    assert not cluster.running()


@pytest.mark.model
def test_a_worker_is_lost_while_it_reads_rows_for_ifd(
    command: Command, cluster: Cluster, environment: dict[str, str], data: Zoo,
    store: str, s3_server: S3Server, tmp_path: Path,
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

    spread = [*flags, "--store", store, "--out", "out"]
    with select.within(tmp_path / "spread").start(*spread, env=environment) as process:
        cluster.hold("annotations", cluster.nodes[0], process).kill()
        result = finish(process).ended(0)
    assert {"sketches", "annotations"} <= set(result.stages(" parts on "))
    assert "its worker or node died" in result.stderr

    wanted = contents(tmp_path / "threads" / "store")
    assert tables(stored(s3_server, store)) == tables(wanted)


def tables(store: dict[str, bytes]) -> dict[str, bytes]:
    """Leave the cells out, whose files are named and cut by who wrote them."""
    return {name: data for name, data in store.items() if not name.startswith("annotated/")}
