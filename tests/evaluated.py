"""A live evaluation without a flow: what a benchmark is given of the run around it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import polars as pl

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate.live import Tools
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import ShardResult, single
from crowdselect_core.tables import HELDOUT, HELDOUT_ANSWERS


def config_of(folder: Any, benchmarks: list[dict[str, Any]], **keys: Any) -> EvaluateConfig:
    """A config of an evaluation whose store and OUT are in a folder."""
    evaluation = {
        "benchmarks": benchmarks,
        "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu"},
    }
    return EvaluateConfig(
        store=str(folder / "store"), out=str(folder / "out"), evaluation=evaluation, **keys
    )


def tools_of(config: EvaluateConfig, artifacts: dict[str, str] | None = None) -> Tools:
    """What a benchmark is given; the processor is free at once, and no progress is shown."""

    @contextmanager
    def shown(stage: str, name: str) -> Iterator[Any]:
        yield _silent

    return Tools(
        config=config,
        store=Store(config.store),
        secret=lambda name: name,
        lent=lambda engine, name: nullcontext([]),
        shown=shown,
        stopped=lambda: False,
        check=lambda: None,
        artifacts=artifacts or {},
    )


def heldout_artifacts(store: Store, rows: list[tuple[str, str | None]]) -> dict[str, str]:
    """Store prompts with their answers as a run's held-out rows; return the keys by stage."""
    ids = [f"row-{number}" for number in range(len(rows))]
    messages = [[{"role": "user", "content": prompt}] for prompt, _ in rows]
    answers = {
        "instruction_id": ids,
        "messages": messages,
        "model": ["best"] * len(rows),
        "answer": [answer for _, answer in rows],
    }
    drawn = {
        "instruction_id": ids,
        "source": ["test"] * len(rows),
        "source_row": list(range(len(rows))),
        "prompt": [bytes(16)] * len(rows),
        "messages": messages,
    }
    return {
        "heldout": _stored(store, "heldout", drawn, dict(HELDOUT)),
        "heldout-answers": _stored(store, "heldout-answers", answers, dict(HELDOUT_ANSWERS)),
    }


def _stored(store: Store, stage: str, columns: dict[str, Any], schema: dict[str, Any]) -> str:
    frame = pl.DataFrame({name: columns[name] for name in schema}, schema=schema)
    return build(store, Spec(stage, 1, {}), single(lambda: ShardResult(frame))).key


def _silent(calls: CallTracker) -> None:
    """No progress is shown."""
