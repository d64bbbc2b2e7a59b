"""`training.args` and `report_to`: checked before anything runs, and passed to TRL."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune import tracking
from crowdselect_core.finetune.trainers import check_args, module

pytest.importorskip("trl")
pytestmark = pytest.mark.model

LOSSES = ("sft", "dpo", "simpo", "orpo")


def config(**keys: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"base_model": "x", **keys})


@pytest.mark.parametrize("loss", LOSSES)
def test_the_defaults_of_trl_that_would_surprise_are_stated(loss: str) -> None:
    made = module(loss).arguments(config(loss=loss), Path("work"), gpu=False)
    stated = {
        "bf16": False, "fp16": False, "use_cpu": True, "gradient_checkpointing": False,
        "logging_steps": 1, "logging_nan_inf_filter": False, "weight_decay": 0.0,
        "max_grad_norm": 1.0, "report_to": [], "push_to_hub": False, "seed": 0, "data_seed": 0,
        "remove_unused_columns": False, "trackio_static_space_id": False,
    }  # fmt: skip
    assert {name: getattr(made, name) for name in stated} == stated
    own: dict[str, dict[str, Any]] = {
        "sft": {"loss_type": "nll", "packing": False, "max_length": None},
        "dpo": {"loss_type": ["sigmoid"], "beta": 0.1, "max_length": None},
        "simpo": {"loss_type": "simpo", "beta": 2.5, "simpo_gamma": 1.375, "cpo_alpha": 0.0},
        "orpo": {"beta": 0.1},
    }
    assert {name: getattr(made, name) for name in own[loss]} == own[loss]


def test_args_and_the_tracker_reach_the_trainer() -> None:
    given = {"weight_decay": "0.1", "neftune_noise_alpha": 5, "run_name": "mine"}
    made = module("sft").arguments(config(args=given, report_to="wandb"), Path("w"), gpu=False)
    assert (made.weight_decay, made.neftune_noise_alpha, made.run_name) == (0.1, 5, "mine")
    assert made.report_to == ["wandb"]
    dpo = config(loss="dpo", args={"disable_dropout": False, "label_smoothing": 0.1})
    made = module("dpo").arguments(dpo, Path("w"), gpu=False)
    assert (made.disable_dropout, made.label_smoothing) == (False, 0.1)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"args": {"weight_decy": 0.1}}, "no such argument, did you mean 'weight_decay'"),
        ({"args": {"learning_rate": 1e-3}}, r"set training\.learning_rate instead"),
        ({"args": {"max_steps": 3}}, r"set training\.num_train_epochs instead"),
        ({"args": {"output_dir": "/tmp"}}, "set by CrowdSelect"),
        ({"args": {"hub_model_id": "a/b"}}, "set by CrowdSelect"),
        ({"args": {"trust_remote_code": True}}, "set by CrowdSelect"),
        ({"args": {"eval_strategy": "steps"}}, "set by CrowdSelect"),
        ({"args": {"weight_decay": "much"}}, r"args\.weight_decay: .*number.*found str"),
        ({"args": {"optim": "no_such_optimizer"}}, "refuses them"),
        ({"loss": "simpo", "args": {"cpo_alpha": 1.0}}, "set by CrowdSelect"),
        ({"loss": "orpo", "args": {"simpo_gamma": 1.0}}, "instead"),
        ({"loss": "orpo", "args": {"label_smoothing": 0.1}}, "no such argument"),
    ],
)
def test_args_that_do_not_fit_are_refused(keys: Any, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as error:
        check_args(config(**keys), gpu=False)
    assert "\n" not in str(error.value)


def test_a_tracker_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    installed: set[str] = set()
    monkeypatch.setattr(
        tracking, "find_spec", lambda name: find("json") if name in installed else None
    )
    tracking.check(None)
    for name in ("trackio", "wandb", "mlflow", "tensorboard"):
        with pytest.raises(ConfigError, match=f"{name} is not installed: pip install {name}"):
            tracking.check(name)  # type: ignore[arg-type]
    installed |= {"trackio", "tensorboardX"}
    tracking.check("trackio")
    monkeypatch.delenv(tracking.BOARD_FOLDER, raising=False)
    with pytest.raises(ConfigError, match="set TENSORBOARD_LOGGING_DIR"):
        tracking.check("tensorboard")
    monkeypatch.setenv(tracking.BOARD_FOLDER, "runs")
    tracking.check("tensorboard")
