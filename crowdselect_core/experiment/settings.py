"""Making a cell of a setting: the config with its keys replaced, and a name that says which."""

from collections.abc import Mapping
from typing import Any

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.experiment import ALL, ExperimentConfig, SubCrowd
from crowdselect_core.config.metric_weights import WEIGHTS
from crowdselect_core.config.reward import reward_name
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.experiment.cells import (
    UNTUNED,
    Cell,
    Setting,
    replaced,
    response_text,
    weights_text,
)

NAME = "name"  # of a method or a training in the grid, in place of one made of its keys


def required(config: SelectConfig) -> ExperimentConfig:
    """Return the section `experiment`; without one, that of the defaults."""
    return config.experiment or ExperimentConfig()


def subsample_varies(config: SelectConfig) -> bool:
    """Tell whether each replicate chooses from a subsample of its own."""
    own = config.subsample
    return required(config).replicate.subsample is not None or (
        own is not None and own.seed is None
    )


def make(
    config: SelectConfig,
    keys: Mapping[str, Any],
    setting: Setting,
    *,
    label: str | None = None,
    control: str | None = None,
) -> Cell:
    """Return the cell of a setting.

    Args:
        config: resolved; of the whole experiment.
        keys: config keys of the selection.
        setting: whose answers and scores, and the training.
        label: of the method, where it has a name of its own.
        control: which control it is.
    """
    crowd, training, changed = setting.crowd, setting.training, dict(keys)
    if isinstance(crowd, SubCrowd):
        changed["crowd"] = _members(config, crowd)
    if isinstance(setting.rewards, list):
        changed["reward_models"] = _rewards(config, setting.rewards)
    changed["training"] = None
    trains = required(config).train and config.training is not None
    if trains:
        changed["training"] = {k: v for k, v in training.items() if k != NAME}
        changed |= _evaluated(config, training)
    else:
        changed["evaluation"] = None
    found = replaced(config, changed, evaluates=trains)
    label = label or _label(keys)
    where = crowd.name if isinstance(crowd, SubCrowd) else ALL
    name = " ".join(
        [label, *_parts(config, found, where), *([_training_label(training)] if training else [])]
    )
    return Cell(name, found, label, setting, trains, control)


def _evaluated(config: SelectConfig, training: Mapping[str, Any]) -> dict[str, Any]:
    """Leave the base model out of the other models that are evaluated: it is measured anyway."""
    base = training.get("base_model", config.training.base_model if config.training else None)
    if config.evaluation is None:
        return {}
    others = [
        m for m in config.evaluation.models if m.engine is not None or (m.model or m.name) != base
    ]
    return {"evaluation": {"models": [m.model_dump(exclude_unset=True) for m in others]}}


def untuned(cell: Cell) -> Cell:
    """Return the untuned base model of a cell's training as a cell of its own."""
    training = cell.config.training
    if training is None:
        raise TypeError("a cell that trains nothing has no base model")
    name = f"{UNTUNED} {training.base_model}"
    return Cell(name, cell.config, UNTUNED, cell.setting, trains=True, control=UNTUNED)


def _label(keys: Mapping[str, Any]) -> str:
    """Name a method by what is not an axis of the grid."""
    axes = {"method", "clusters", "budget", "weights", "response", "direction", "budget_tokens"}
    further = {key: value for key, value in keys.items() if key not in axes}
    bottom = "-bottom" if keys.get("direction") == "bottom" else ""
    return " ".join([f"{keys['method']}{bottom}", *_flat(further)])


def _parts(whole: SelectConfig, config: SelectConfig, crowd: str) -> list[str]:
    tokens = config.budget_tokens
    share = isinstance(config.budget, float)
    rows = f"{float(config.budget):.4%}".rstrip("0%").rstrip(".") + "%" if share else config.budget
    parts = [f"k={config.clusters}", f"tokens={tokens}" if tokens else f"n={rows}"]
    if config.method == "crowdselect" and config.weights != WEIGHTS:
        parts.append(f"w={weights_text(config.weights)}")
    if config.response_mode != "best":
        parts.append(f"response={response_text(config.response_mode)}")
    if config.reward_names != whole.reward_names:
        parts.append(f"rewards={','.join(config.reward_names)}")
    return [*parts, *([f"crowd={crowd}"] if crowd != ALL else [])]


def _training_label(training: Mapping[str, Any]) -> str:
    return str(training[NAME]) if NAME in training else ",".join(_flat(training))


def _flat(keys: Mapping[str, Any], above: str = "") -> list[str]:
    found: list[str] = []
    for name, value in sorted(keys.items()):
        if isinstance(value, Mapping):
            found += _flat(value, f"{above}{name}.")
        else:
            found.append(f"{above}{name}={value}")
    return found


def _members(config: SelectConfig, crowd: SubCrowd) -> list[CrowdModel]:
    """Return the models of a sub-crowd; the student stays.

    Raises:
        ConfigError: a name that is not of the crowd, or nothing remains.
    """
    where = f"experiment.crowds, {crowd.name!r}"
    names, families = [m.name for m in config.models], {m.family for m in config.models}
    for given, known in ((crowd.models, names), (crowd.families + crowd.without, families)):
        for one in given:
            if one not in known:
                raise ConfigError(
                    f"{where}: {one!r} is not of the crowd{nearest(one, known)} "
                    f"({shown(sorted(known))})"
                )
    kept = [
        m
        for m in config.models
        if m.name in crowd.models
        or m.family in crowd.families
        or (crowd.without and m.family not in crowd.without)
    ]
    if not kept:
        raise ConfigError(f"{where}: no model of the crowd remains")
    return [*kept, *(m for m in config.everyone if m.role != "crowd")]


def _rewards(config: SelectConfig, names: list[str]) -> list[Any]:
    known = config.reward_names
    if unknown := [n for n in names if n not in known]:
        raise ConfigError(
            f"experiment.reward_models: {unknown[0]!r} is not among the reward models"
            f"{nearest(unknown[0], known)} ({shown(known)})"
        )
    return [r for r in config.reward_models if reward_name(r) in names]
