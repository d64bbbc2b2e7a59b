"""Models and judges that answer from a function, for evaluations in the process of a test."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.chat import Message
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate import answers, candidate_engine, candidates
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging import judge
from crowdselect_core.evaluate.live import Tools
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.generate.base import Answer, Failure, Request, failed
from crowdselect_core.planning.evaluation_forecast import quiet_tools

Replier = Callable[[str, Sequence[Message]], str | None]  # of a name and messages; None: it fails


class Engine:
    """Answers by a function; counts what it was asked."""

    limits: tuple[str, ...] = ()

    def __init__(self, name: str, reply: Replier, asked: list[tuple[str, Request]],
                 served: dict[str, str]) -> None:  # fmt: skip
        self._name, self._reply, self._asked, self._served = name, reply, asked, served
        self.stopped = lambda: False

    def check(self) -> None:
        """It is always there."""

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer one after the other."""
        for request in requests:
            self._asked.append((self._name, request))
            text = self._reply(self._name, request.messages)
            if text is None:
                done(failed(request.key, "down", "nobody is there", Failure.INFRASTRUCTURE))
                continue
            cut = text.startswith("CUT ")
            done(Answer(
                request.key, text, None, "length" if cut else "stop", 10, 5,
                served_model=self._served.get(self._name),
            ))  # fmt: skip

    def close(self) -> None:
        """Hold nothing."""


class World:
    """An evaluation whose models and judges are functions.

    Attributes:
        asked: every request that was made, with the name of the engine.
        served: the model that a judge's server reports, by the judge's name.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, reply: Replier) -> None:
        self.asked: list[tuple[str, Request]] = []
        self.served: dict[str, str] = {}
        self.folder, self.reply = folder, reply

        def opened(name: str, *args: Any, **keys: Any) -> Engine:
            return Engine(name, lambda n, m: self.reply(n, m), self.asked, self.served)

        for module in (candidate_engine, judge):
            monkeypatch.setattr(module, "open_engine", opened)

    def config(self, benchmark: dict[str, Any], models: Sequence[str] = ("m",),
               judges: Sequence[str] = ("judge",), **keys: Any) -> EvaluateConfig:  # fmt: skip
        """Return a config of one benchmark."""
        price = {"input": 1_000.0, "output": 2_000.0}  # 0.001 and 0.002 a token
        engine = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "price": price}
        return EvaluateConfig.model_validate({
            "store": str(self.folder / "store"), "out": str(self.folder / "out"),
            "max_failure_rate": 0.5,
            "evaluation": {
                "models": [{"name": name, "engine": engine} for name in models],
                "judges": [{"name": name, "engine": engine} for name in judges],
                "benchmarks": [benchmark], **keys,
            },
        }).resolved()  # fmt: skip

    def tools(self, config: EvaluateConfig) -> Tools:
        """Return tools that lend and show nothing."""
        return quiet_tools(config, lambda block: "")

    def models(self, config: EvaluateConfig) -> list[Candidate]:
        """Return the models of a config."""
        return candidates.candidates(config, self.tools(config).store, None)

    def run(self, config: EvaluateConfig) -> Outcome:
        """Answer and judge, as the flow does."""
        tools, models = self.tools(config), self.models(config)
        [one] = config.evaluation.benchmarks if config.evaluation else []
        benchmark = open_benchmark(one, config)
        for model in models:
            answers.answer(benchmark.questions, model, tools)
        return benchmark.run(models, tools)


def values(outcome: Outcome, *columns: str) -> dict[tuple[str, str], Any]:
    """Return columns by metric and model, of the results over all categories."""
    return {
        (r.metric, r.model): tuple(getattr(r, c) for c in columns) if columns[1:]
        else getattr(r, columns[0])
        for r in outcome.results
        if r.category is None
    }  # fmt: skip


def text_of(messages: Sequence[Message]) -> str:
    """Return the last message."""
    return messages[-1]["content"]


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write JSON Lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file
