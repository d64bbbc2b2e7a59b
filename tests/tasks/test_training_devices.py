"""A training takes its GPUs by the lease that servers of models take theirs by."""

from threading import Thread

import pytest

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.devices import Devices
from tasks import crowd, devices

SERVER = CrowdModel.model_validate(
    {"name": "served", "family": "f", "size": 1, "engine": {"kind": "vllm", "model": "x"}}
)


@pytest.fixture(autouse=True)
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    three = Devices(["0", "1", "2"])
    monkeypatch.setattr(devices, "_machine", lambda: three)


def test_a_server_gets_what_a_training_leaves_and_waits_for_the_rest() -> None:
    got: list[list[str]] = []

    def serve() -> None:
        with devices.lent(SERVER) as gpus:
            got.append(gpus)

    with devices.some_devices(2, "base") as training:
        assert training == ["0", "1"]
        with devices.lent(SERVER) as beside:
            assert beside == ["2"]
            waits = Thread(target=serve)
            waits.start()
            waits.join(0.2)
            assert got == []
        waits.join(60)
        assert got == [["2"]]
    with devices.some_devices(3, "base") as training:
        assert sorted(training) == ["0", "1", "2"]


def test_scores_of_a_cluster_take_no_gpu_of_this_machine() -> None:
    for engine, executor, tags in (
        ("transformers", "ray", ["engine-ray"]),
        ("transformers", "threads", ["engine-transformers", "gpu"]),
        ("vllm", "ray", ["engine-vllm"]),
    ):
        model = {"name": "r", "kind": "classifier", "model": "x", "engine": {"kind": engine}}
        config = load(None, {"dataset": "d", "reward_models": [model], "executor": executor}, {})
        [reward] = config.reward_models
        assert not isinstance(reward, str)
        assert crowd.score_tags(config, reward) == tags


def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(ConfigError, match="'base' needs 4 GPUs"), devices.some_devices(4, "base"):
        pass


def test_a_cell_sees_its_own_gpus_alone() -> None:
    with devices.own_devices(2, "cell"):
        with devices.one_device("base") as first, devices.one_device("base") as second:
            assert [*first, *second] == ["0", "1"]
        with (
            pytest.raises(ConfigError, match="'base' needs 3 GPUs"),
            devices.some_devices(3, "base"),
        ):
            pass
        beside: list[list[str]] = []

        def other() -> None:
            with devices.one_device("other") as lent:  # of no cell: what the machine has left
                beside.append(lent)

        thread = Thread(target=other)
        thread.start()
        thread.join(60)
        assert beside == [["2"]]
    with devices.some_devices(3, "base") as lent:
        assert sorted(lent) == ["0", "1", "2"]
