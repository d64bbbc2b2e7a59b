"""Fixtures that many tests share: small zoos, real servers, the command in a process."""

import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from command import ROOT, Command
from hypothesis import HealthCheck, settings
from prefects import PrefectServer
from servers import S3Server, quiet_environment
from warm import MODEL_LIBRARIES, Warm
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from zoos import Zoo, write_zoo

# A loaded machine fails no property, and what passed once passes again.
settings.register_profile(
    "house", max_examples=50, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("house")

LAUNCHED = pytest.StashKey[PrefectServer]()
SERVERS = {"s3_server", "prefect_server", "command", "served"}  # fixtures that start a server
OF_MODELS = re.compile(r"^pytestmark = .*\bmark\.(model|vllm)\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files that only test models where those are not wanted: they import torch."""
    if "not model" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    return True if OF_MODELS.search(collection_path.read_text("utf-8")) else None


@pytest.hookimpl(tryfirst=True)  # before the tests of other marks are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, and begin with the tests that take long: the others fill up."""
    for item in items:
        if SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)
    items.sort(key=lambda i: (not _takes_long(i), "served" not in i.path.parts))


def _takes_long(item: pytest.Item) -> bool:
    """Whether it is of whole runs or of the real vLLM."""
    return "integration" in item.path.parts or item.get_closest_marker("vllm") is not None


class Scheduler(LoadFileScheduling):
    """Shares out files, and the folder whose tests have one `make server` as one."""

    def _split_scope(self, nodeid: str) -> str:
        folder, served, _ = nodeid.partition("/served/")
        return folder + served if served else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler | None:
    """Share the tests out by file."""
    return Scheduler(config, log) if config.option.dist == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """See that `make test-fast` needs no torch."""
    before = "torch" in sys.modules
    yield
    if "torch" in sys.modules and not before and item.get_closest_marker("model") is None:
        pytest.fail("it imports torch: give it the mark `model`")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Launch the Prefect server if a test needs it; it comes up while the tests before it run."""
    names = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    needed = names & {"prefect_server", "command"}
    if needed and not session.config.option.collectonly:
        folder = Path(tempfile.mkdtemp(prefix="prefect-"))
        session.config.stash[LAUNCHED] = server = PrefectServer.launch(folder)
        session.config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        session.config.add_cleanup(server.stop)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take away the handlers of a command that a test calls in its own process.

    They write to a stderr that ends with the test.
    """
    ours = logging.getLogger("crowdselect")
    handlers, propagate = list(ours.handlers), ours.propagate
    yield
    ours.handlers, ours.propagate = handlers, propagate


@pytest.fixture
def zoo(tmp_path: Path) -> Callable[..., Zoo]:
    """Write small zoos: `zoo(rows=100, row_group=10)`, see `zoos.write_zoo`."""
    numbers = iter(range(1000))
    return lambda *args, **options: write_zoo(tmp_path / f"zoo-{next(numbers)}", *args, **options)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One real S3 server for all tests."""
    server = S3Server.start(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, with the environment of this process pointing at it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return s3_server


@pytest.fixture(scope="session")
def prefect_server(pytestconfig: pytest.Config) -> PrefectServer:
    """One real Prefect server for all tests."""
    return pytestconfig.stash[LAUNCHED].wait()


@pytest.fixture(scope="session")
def command(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Command]:
    """`python -m flows.select` as a process that talks to the Prefect server of the tests."""
    home, launched = tmp_path_factory.mktemp("home"), pytestconfig.stash[LAUNCHED]
    environment = quiet_environment(home) | {
        "PREFECT_API_URL": launched.api,
        "PYTHONPATH": str(ROOT),
    }
    warm, of_models = Warm(environment), cache(lambda: Warm(environment, MODEL_LIBRARIES))
    launched.wait()
    yield Command(environment, home, warm=warm, of_models=of_models)
    warm.stop()
    if of_models.cache_info().currsize:
        of_models().stop()
