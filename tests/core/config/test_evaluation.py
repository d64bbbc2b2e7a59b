"""What the config of an evaluation refuses."""

from typing import Any

import pytest
from pydantic import ValidationError

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.errors import ConfigError

JUDGE = {"name": "judge", "engine": {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}}
MT = {"kind": "mt-bench", "path": "mt"}
PAIRS = MT | {"mode": "pairwise"}


def evaluation(*benchmarks: dict[str, Any]) -> dict[str, Any]:
    return {"benchmarks": list(benchmarks), "judges": [JUDGE]}


@pytest.mark.parametrize(
    "benchmarks",
    [
        (MT, MT),
        (PAIRS, PAIRS),
        (MT, {"kind": "pairwise", "path": "p.jsonl", "name": "mt-bench"}),
        (PAIRS, {"kind": "pairwise", "path": "p.jsonl", "name": "mt-bench"}),
        (MT, PAIRS | {"limit": 3}),
        (MT, PAIRS | {"path": "other"}),
        (MT | {"max_tokens": 8}, PAIRS),
        (MT, PAIRS, MT | {"mode": "single"}),
    ],
)
def test_two_benchmarks_that_would_write_one_folder_are_refused(
    benchmarks: tuple[dict[str, Any], ...],
) -> None:
    with pytest.raises(ValidationError, match="'mt-bench' stands twice"):
        EvaluationConfig.model_validate(evaluation(*benchmarks))
    named = [b | {"name": f"b{i}"} for i, b in enumerate(benchmarks)]
    assert EvaluationConfig.model_validate(evaluation(*named)).benchmarks


def test_mt_bench_may_stand_once_graded_and_once_in_pairs() -> None:
    config = EvaluationConfig.model_validate(evaluation(MT | {"limit": 3}, PAIRS | {"limit": 3}))
    assert len(config.benchmarks) == 2


@pytest.mark.parametrize(
    "given",
    [
        {"official": True},
        {"baseline": "b"},
        {"questions": "q.jsonl"},
        {"style": "model_answer"},
        {"benchmark": "mt-bench"},
    ],
)
def test_what_counts_for_judgment_files_alone_is_refused_of_a_live_evaluation(
    given: dict[str, Any],
) -> None:
    live = {"model": "m", "evaluation": evaluation(MT)}
    assert EvaluateConfig.model_validate(live).resolved()
    (key,) = given
    with pytest.raises(ConfigError, match=f"{key}: counts for judgment files alone"):
        EvaluateConfig.model_validate(live | given).resolved()
