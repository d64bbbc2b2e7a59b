"""What the answers of a live crowd to the held-out prompts cost, before anybody is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from evaluated import config_of

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import ConfigError, SelectionError
from crowdselect_core.generate.base import Answer, Request, never
from crowdselect_core.planning.evaluation_forecast import evaluation_forecast
from crowdselect_core.planning.heldout_cost import heldout_bills
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.stages.base import InProcess, Runner
from crowdselect_core.stages.crowd import generation
from crowdselect_core.stages.graph import HELDOUT, INSTRUCTIONS, PROMPTS, RESPONSES
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

PRICE = {"input": 1_000.0, "output": 2_000.0}  # 0.001 and 0.002 a token
ENGINE = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "price": PRICE}
JUDGE = {"name": "g", "kind": "judge", "engine": ENGINE, "rubric": "{instruction}{answer}..",
         "sampling": {"max_tokens": 7}}  # fmt: skip
LOSS = {"kind": "heldout-loss"}
ROWS, HELD = 8, ("1", "3", "4")


class Echo:
    """An engine that answers all alike."""

    limits: tuple[str, ...] = ()
    stopped = staticmethod(never)

    def check(self) -> None:
        """Answer always."""

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        for request in requests:
            done(Answer(request.key, text="yes", finish_reason="stop"))

    def close(self) -> None:
        """Hold nothing."""


def live(folder: Path, answers: str | None, benchmark: dict[str, Any] = LOSS, /, **keys: Any
         ) -> EvaluateConfig:  # fmt: skip
    """Return an evaluation of an endpoint, on three of eight prompts of 40 bytes each."""
    pytest.importorskip("rensa")
    texts = [f"Say what number {i} is: {'abcdefgh'[i] * 18}" for i in range(ROWS)]
    assert {len(text) for text in texts} == {40}
    rows = {"id": [str(i) for i in range(ROWS)], "instruction": texts}
    pl.DataFrame(rows).write_parquet(folder / "data.parquet")
    (folder / "held.txt").write_text("\n".join(HELD))
    crowd = [{"name": n, "family": n, "size": 1, "engine": {**ENGINE, "model": n},
              "sampling": {"max_tokens": 5}} for n in ("a", "b")]  # fmt: skip
    whole = {"heldout": {"file": str(folder / "held.txt"), "answers": answers}} | keys
    config = config_of(
        folder, [benchmark], dataset={"path": str(folder / "data.parquet")}, crowd=crowd,
        reward_models=[JUDGE], model="x", **whole,
    )  # fmt: skip
    return config.resolved()


def with_limit(config: EvaluateConfig, most: float) -> EvaluateConfig:
    """Return the config with a limit, and an endpoint in place of a model of here."""
    assert config.evaluation is not None
    keys = {**config.evaluation.model_dump(exclude_unset=True), "max_cost": most,
            "models": [{"name": "m", "engine": ENGINE}]}  # fmt: skip
    told = config.model_dump(exclude_unset=True) | {"model": None, "evaluation": keys}
    return EvaluateConfig.model_validate(told).resolved()


def nothing(config: Any, run: Runner) -> Ref:
    raise AssertionError("nothing is selected")


def test_the_best_answers_are_asked_of_all_and_scored(tmp_path: Path) -> None:
    of_a, of_b, scores = heldout_bills(live(tmp_path, "best"))
    for bill, name in ((of_a, "a"), (of_b, "b")):
        assert bill.name == f"{name} to the held-out prompts"
        assert (bill.requests, bill.cached) == (3, 0)
        assert (bill.prompt_tokens, bill.completion_tokens) == (3 * 10, 3 * 5)
        assert bill.money == pytest.approx((30 * 1_000 + 15 * 2_000) / 1e6)
        assert bill.line.startswith(f"answers    to the held-out prompts, {name}: 3 requests")
    assert (scores.requests, scores.completion_tokens) == (6, 6 * 7)
    assert scores.prompt_tokens == 6 * (6 + 10 + 5)  # rubric, prompt, answer
    assert scores.money == pytest.approx((126 * 1_000 + 42 * 2_000) / 1e6)
    assert scores.line.startswith("scores     of the held-out answers, g (judge): at most 6 ans")


def test_one_models_answers_are_asked_of_it_alone_and_once(tmp_path: Path) -> None:
    config = live(tmp_path, "a")
    [bill] = heldout_bills(config)
    assert (bill.name, bill.requests) == ("a to the held-out prompts", 3)
    own, store = without_missing(config, find_missing(config)), Store(config.store)
    run = InProcess(store)
    prompts = run(PROMPTS, own, run(HELDOUT, own, run(INSTRUCTIONS, own)))
    generation.generate(own, store, prompts, config.everyone[0], Echo(), lambda calls: None)
    run(RESPONSES, own, prompts, config.everyone[0])
    [bill] = heldout_bills(config)
    assert (bill.requests, bill.cached, bill.money) == (0, 3, 0)
    best, _, scores = heldout_bills(live(tmp_path, "best"))
    assert (best.requests, scores.requests) == (0, 6)


def test_who_asks_for_no_answers_pays_for_none(tmp_path: Path) -> None:
    grades = {"kind": "reward-win-rate", "reward_model": {**JUDGE, "name": "other"}}
    assert heldout_bills(live(tmp_path, "best", grades)) == []


def test_the_dry_run_adds_them_up_and_refuses_more_than_max_cost(tmp_path: Path) -> None:
    # 0.06 for each model's answers, 0.21 for the scores.
    lines = evaluation_forecast(with_limit(live(tmp_path, "best"), 0.34), nothing, str)
    assert "in all     12 requests, 0.33 at the configured prices, max_cost 0.34" in lines
    with pytest.raises(ConfigError, match=r"may cost 0\.33.*scores of g on the held-out answers"):
        evaluation_forecast(with_limit(live(tmp_path, "best"), 0.32), nothing, str)


def test_the_dry_run_refuses_a_split_without_a_held_out_row(tmp_path: Path) -> None:
    config = live(tmp_path, "best", heldout={"share": 1e-9, "answers": "best"})
    with pytest.raises(SelectionError, match=r"none of the 8 rows of .* is held out"):
        evaluation_forecast(with_limit(config, 1), nothing, str)
