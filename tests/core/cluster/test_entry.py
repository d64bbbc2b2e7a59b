"""What a worker keeps to of its node: the GPUs that it was lent, and a thread for each CPU."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from crowdselect_core.cluster import entry
from crowdselect_core.config.load import load
from crowdselect_core.models.devices import visible_gpus
from crowdselect_core.stages.graph import STAGES


def ray(gpus: list[str], cpus: float) -> SimpleNamespace:
    """What stands for the module ray in a worker that was lent so much."""
    context = SimpleNamespace(get_assigned_resources=lambda: {"CPU": cpus})
    return SimpleNamespace(get_gpu_ids=lambda: gpus, get_runtime_context=lambda: context)


def test_work_that_takes_no_gpu_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")  # by Ray, for work that takes it
    entry.hide_gpus(ray(["2"], 1))
    assert visible_gpus() == ["2"]
    entry.hide_gpus(ray([], 1))
    assert visible_gpus() == []


def test_pools_have_a_thread_for_each_cpu_unless_the_node_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = entry.POOLS
    for cpus, threads in ((3.0, "3"), (0.5, "1")):
        environ = {second: "7"}
        monkeypatch.setattr(os, "environ", environ)
        entry.size_pools(ray([], cpus))
        assert environ == {first: threads, second: "7"}


def test_the_entry_imports_no_library_whose_threads_it_sizes() -> None:
    code = "import crowdselect_core.cluster.entry, sys; sys.exit('polars' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_contamination_takes_a_gpu_where_it_embeds(tmp_path: Path) -> None:
    needs = STAGES["contamination"].needs
    assert needs is not None
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Name a colour."}\n')
    gate = {"against": [str(tmp_path / "prompts.jsonl")]}
    for more, embedder, gpu in (
        ({"similarity": 0.9}, {"kind": "sentence-transformers", "model": "m"}, True),
        ({"similarity": 0.9}, "lexical", False),
        ({}, {"kind": "sentence-transformers", "model": "m"}, False),
    ):
        given = {"dataset": "d", "reward_models": ["r"], "embedder": embedder, "clusters": 3,
                 "quality": {"decontamination": {**gate, **more}}}  # fmt: skip
        assert needs(load(None, given, {})).gpu is gpu
