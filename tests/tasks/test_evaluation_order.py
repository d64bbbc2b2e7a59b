"""The order of an evaluation: whatever may refuse it comes before what is paid for."""

import json
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import required
from crowdselect_core.errors import ConfigError, UserError
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import candidates
from crowdselect_core.planning import evaluation_check
from crowdselect_core.planning.evaluation_forecast import drawn_prompts
from crowdselect_core.stages.refs import Ref, Split
from crowdselect_core.store.artifacts import Store
from flows import crowd_steps
from flows import evaluate as flow
from tasks import evaluate as tasks


def config_of(folder: Path) -> EvaluateConfig:
    return EvaluateConfig.model_validate({
        "store": str(folder / "store"), "out": str(folder / "out"), "dataset": "zoo.parquet",
        "heldout": {"share": 0.5, "answers": "m"},
        "training": {"base_model": "b", "train_file": "t.jsonl"},
        "evaluation": {"benchmarks": [{"kind": "heldout-loss"}]},
    })  # fmt: skip


def test_a_train_file_is_refused_before_held_out_answers_are_paid_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn = Ref.to_compute("heldout")

    def refused(config: Any, heldout: Ref) -> None:
        assert heldout is drawn
        raise ConfigError("a held-out row is trained on")

    def paid(*args: Any) -> None:
        raise AssertionError("answers are paid for")

    monkeypatch.setattr(crowd_steps, "_only_heldout", lambda config, answers: (drawn, None))
    monkeypatch.setattr(crowd_steps, "heldout_answers", paid)
    monkeypatch.setattr(flow.training_tasks, "check_file", refused)
    with pytest.raises(ConfigError, match="a held-out row is trained on"):
        flow.story(config_of(tmp_path))


@pytest.mark.parametrize("kind", ["heldout-loss", "reward-win-rate"])
def test_best_answers_of_several_reward_models_are_refused_where_they_are_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """Without a selection: by the dry run too, and only of a benchmark that takes the answers."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"instruction": f"Say {word}."}) + "\n" for word in "abcdefgh")
    )
    scorer = {"kind": "function", "path": "operator:eq"}
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    benchmark = {"kind": kind}
    if kind == "reward-win-rate":
        benchmark |= {"reward_model": scorer | {"name": "other"}}
    config = EvaluateConfig.model_validate({
        "store": str(tmp_path / "store"), "out": str(tmp_path / "out"), "model": str(tmp_path),
        "dataset": str(tmp_path / "rows.jsonl"), "heldout": {"share": 0.5, "answers": "best"},
        "crowd": [{"name": n, "family": "f", "size": i, "engine": engine | {"model": n}}
                  for i, n in enumerate(("a", "b"), 1)],
        "reward_models": [scorer | {"name": f"r{i}", "version": f"{i}"} for i in (1, 2)],
        "evaluation": {"benchmarks": [benchmark]},
    }).resolved()  # fmt: skip
    monkeypatch.setattr(crowd_steps, "run", lambda stage, *inputs: Ref.to_compute(stage.name))
    monkeypatch.setattr(crowd_steps.preflight, "check_data", lambda config, raw: None)
    drawn = Ref.to_compute("heldout")
    monkeypatch.setattr(crowd_steps, "split", lambda config, lacks, raw: Split(raw, drawn))
    if kind == "reward-win-rate":
        assert drawn_prompts(config)
        assert flow.heldout(config, None) == [drawn]
        return
    for draw in (lambda: drawn_prompts(config), lambda: flow.heldout(config, None)):
        with pytest.raises(ConfigError, match=r"heldout\.answers best: several reward models"):
            draw()


def test_a_training_that_cannot_be_is_refused_before_anything_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def drawn(*args: Any) -> None:
        raise AssertionError("held-out rows are drawn")

    monkeypatch.setattr(flow, "story", drawn)
    with pytest.raises(ConfigError, match=r"training\.train_file 't\.jsonl' is no file here"):
        flow.checked(config_of(tmp_path))


def test_a_judge_that_grades_is_asked_whether_it_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    (tmp_path / "p.jsonl").write_text('{"prompt": "P"}')
    down = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "g", "max_retries": 0}
    grader = {"name": "g", "kind": "judge", "engine": down}
    benchmark = {"kind": "reward-win-rate", "path": str(tmp_path / "p.jsonl")}
    config = EvaluateConfig.model_validate({
        "store": str(tmp_path / "store"), "out": str(tmp_path / "out"),
        "evaluation": {"benchmarks": [benchmark | {"reward_model": grader}], "models": [
            {"name": "m", "engine": down | {"model": "m"}}
        ]},
    }).resolved()  # fmt: skip
    monkeypatch.setattr(evaluation_check, "check_all", lambda engines: None)  # the models are there
    opened = [open_benchmark(b, config) for b in required(config.evaluation).benchmarks]
    models = candidates(config, Store(config.store), None)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1"):
        evaluation_check.check_bills(opened, models, tasks.tools_of(config))
