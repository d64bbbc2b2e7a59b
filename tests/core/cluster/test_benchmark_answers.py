"""Answers of an evaluated model that a worker of a cluster gives are those of one process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluated import config_of, tools_of
from workers import Here, WorkerDied

from crowdselect_core.cluster import benchmark_answers, trained_cells
from crowdselect_core.config.engine import TransformersEngineConfig, VllmEngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, Stopped, StorageError
from crowdselect_core.evaluate import answers
from crowdselect_core.evaluate.candidates import Candidate, candidates
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.generate.base import Answer, Failure, Request
from crowdselect_core.generate.call_tracker import TooManyFailures
from crowdselect_core.store.executors.base import Needs

QUESTIONS = [
    Question("1", ("Name an animal.", "And another."), 0.0, 16),
    Question("2", ("Refuse this.", "And this."), 0.0, 16),
    Question("3", ("Count.",), 0.7, 16, history=(("system", "Be brief."),)),
]


class Echo:
    """Answers with what it was asked; refuses a row that asks for it."""

    limits: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.asked = 0
        self.dies_at: int | None = None
        self.fails = False

    def close(self) -> None: ...

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        for request in requests:
            self.asked += 1
            if self.asked == self.dies_at:
                raise WorkerDied
            done(self._answer(request))

    def _answer(self, request: Request) -> Answer:
        if self.fails:
            return Answer(request.key, error="down: no device", failure=Failure.INFRASTRUCTURE)
        said = " | ".join(message["content"] for message in request.messages)
        if said.startswith("Refuse"):
            return Answer(request.key, error="refused: no", failure=Failure.ROW)
        return Answer(request.key, text=said, finish_reason="stop")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Echo:
    """The engine of every process; workers are this one."""
    found = Echo()

    @contextmanager
    def lazily(model: Candidate, tools: Tools) -> Iterator[Callable[[], Any]]:
        yield lambda: found

    monkeypatch.setattr(benchmark_answers, "Calls", Here)
    monkeypatch.setattr(answers, "lazily", lazily)
    return found


def given(folder: Path, store: str) -> tuple[Candidate, Tools]:
    """A model in a folder, evaluated on a cluster."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    config = config_of(
        folder / store, [{"kind": "heldout-loss"}], model=str(model), executor={"kind": "ray"}
    )
    (found,) = candidates(config, tools_of(config).store, None)
    return found, tools_of(config)


def texts(model: Candidate, tools: Tools) -> list[tuple[list[str], str | None]]:
    return [(r.turns, r.error) for r in answers.replies(QUESTIONS, model, tools)]


def test_a_worker_gives_the_answers_of_one_process(tmp_path: Path, engine: Echo) -> None:
    model, here = given(tmp_path, "alone")
    alone = answers.answer(QUESTIONS, model, here)
    asked, engine.asked = engine.asked, 0
    wanted = texts(model, here)
    assert [len(turns) for turns, _ in wanted] == [2, 0, 1]

    model, tools = given(tmp_path, "spread")
    spread = replace(tools, elsewhere=benchmark_answers.answer)
    calls = answers.answer(QUESTIONS, model, spread)
    assert (engine.asked, calls.codes) == (asked, alone.codes)
    assert texts(model, tools) == wanted
    assert calls.done == calls.planned == 5  # the second turn after a refusal is not asked for

    again = answers.answer(QUESTIONS, model, spread)
    assert (again.planned, again.cached, engine.asked) == (0, 5, asked)


def test_what_a_lost_worker_stored_is_kept(tmp_path: Path, engine: Echo) -> None:
    model, tools = given(tmp_path, "store")
    engine.dies_at = 3
    calls = benchmark_answers.answer(QUESTIONS, model, tools)
    assert engine.asked == 5, "only the call that was lost is repeated"
    assert calls.done == calls.planned
    assert [len(turns) for turns, _ in texts(model, tools)] == [2, 0, 1]


def test_failures_of_a_worker_end_the_run(tmp_path: Path, engine: Echo) -> None:
    model, tools = given(tmp_path, "store")
    engine.fails = True
    with pytest.raises(TooManyFailures, match=r"no device.* \(on Ray node here\)"):
        benchmark_answers.answer(QUESTIONS, model, tools)
    assert answers.missing(QUESTIONS, model, tools) == 5


def test_a_node_with_another_model_refuses(
    tmp_path: Path, engine: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tools = given(tmp_path, "store")

    def others(config: EvaluateConfig, store: object, trained: object) -> list[Candidate]:
        return [model.model_copy(update={"weights": "sha256:other"})]

    monkeypatch.setattr(trained_cells, "candidates", others)
    with pytest.raises(ConfigError, match="model model is another one"):
        benchmark_answers.answer(QUESTIONS, model, tools)
    assert not engine.asked


def test_a_worker_that_writes_elsewhere_is_told(
    tmp_path: Path, engine: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tools = given(tmp_path, "store")
    monkeypatch.setattr(answers, "missing", lambda *_: 5)
    with pytest.raises(StorageError, match=r"Ray node here stored are not there.* bucket"):
        benchmark_answers.answer(QUESTIONS, model, tools)


def test_a_stop_ends_the_call(tmp_path: Path, engine: Echo) -> None:
    model, tools = given(tmp_path, "store")

    def stop() -> None:
        raise Stopped("now")

    with pytest.raises(Stopped):
        benchmark_answers.answer(QUESTIONS, model, replace(tools, check=stop))


def test_what_a_model_takes_of_a_node() -> None:
    vllm = VllmEngineConfig(kind="vllm", tensor_parallel_size=2, data_parallel_size=2)
    assert benchmark_answers.needs(vllm) == Needs(gpu=True, gpus=4)
    for device, gpu in ((None, True), ("cuda:0", True), ("cpu", False)):
        torch = TransformersEngineConfig(kind="transformers", device=device)
        assert benchmark_answers.needs(torch) == Needs(gpu=gpu)
