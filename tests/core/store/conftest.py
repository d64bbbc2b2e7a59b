"""A store on the local disk and one on the real S3 server."""

import uuid
from pathlib import Path

import pytest
from disks import Disk, disk_of
from servers import S3Server

from crowdselect_core.store.artifacts import Store

PLACES = ["local", pytest.param("s3", marks=pytest.mark.server)]


@pytest.fixture(params=PLACES)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The root of an empty store."""
    if request.param == "local":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3")
    return f"s3://{server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def other_root(root: str) -> str:
    """The root of a second empty store at the same kind of place."""
    return f"{root}-other"


@pytest.fixture
def store(root: str) -> Store:
    """An empty store."""
    return Store(root)


@pytest.fixture
def disk(root: str, request: pytest.FixtureRequest) -> Disk:
    """What lies under the store's root."""
    return disk_of(root, request)
