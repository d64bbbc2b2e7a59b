"""One undisturbed run that the others are held against."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Command
from prefects import PrefectServer
from ray_cluster import Cluster
from runs import FLAGS, PLACES, SHARDS, Run, Server
from servers import S3Server
from zoos import Zoo, write_zoo


@pytest.fixture(scope="session")
def server(prefect_server: PrefectServer) -> Server:
    """The Prefect server of the runs."""
    return Server(prefect_server.api)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """The data set of the runs: six shards, every tenth row hostile."""
    return write_zoo(tmp_path_factory.mktemp("data"), SHARDS * 40, row_group=40, hostile_every=10)


@pytest.fixture(scope="session")
def flags(data: Zoo) -> list[str]:
    """The flags of the runs."""
    return [*data.flags, *FLAGS, *PLACES]


@pytest.fixture(scope="session")
def undisturbed(
    command: Command, flags: list[str], server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run that nothing disturbs; never changed, `copy` it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = command.cold().within(folder).run(*flags).ended(0)
    return Run(folder, result, server.latest())


@pytest.fixture
def copy(undisturbed: Run, tmp_path: Path) -> Callable[[str], Path]:
    """Make a folder that holds what the undisturbed run left."""

    def make(name: str = "copy") -> Path:
        return Path(shutil.copytree(undisturbed.folder, tmp_path / name))

    return make


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[Cluster]:
    """A Ray cluster of two nodes whose environment has the credentials of the bucket."""
    found = Cluster.start(s3_server.environment())
    yield found
    found.stop()


@pytest.fixture(scope="module")
def on_ray(cluster: Cluster, s3_server: S3Server) -> dict[str, str]:
    """What a run on the cluster needs in its environment."""
    return {**s3_server.environment(), **cluster.driver,
            "CROWDSELECT_EXECUTOR__KIND": "ray",
            "CROWDSELECT_EXECUTOR__ADDRESS": cluster.address}  # fmt: skip


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    """The URL of an empty store."""
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
