"""Cells: the config of one setting of a grid, in one replicate.

A cell is nothing but the config of the other flows with some keys replaced, so whatever they make
of that config is the cell's, under the same keys of the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.experiment import ALL, ExperimentConfig, SubCrowd
from crowdselect_core.config.heldout import SubsampleConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.selection.metric_weights import METHODS
from crowdselect_core.store.identity import canonical

UNTUNED = "untuned"
TOKEN_MATCHED = "token-matched-random"  # noqa: S105 - no password

Keys = Mapping[str, Any]


@dataclass(frozen=True)
class Replicate:
    """One repetition of all cells.

    Args:
        number: 0, 1, ...
        seed: of its draws, its held-out split, its subsample and its trainings.
    """

    number: int
    seed: int


@dataclass(frozen=True)
class Setting:
    """Whose answers and scores a cell sees, and how it is trained on.

    Args:
        crowd: all, or a part of it.
        rewards: all, or names of reward models.
        training: a mapping over `training`.
    """

    crowd: SubCrowd | str = ALL
    rewards: list[str] | str = ALL
    training: Keys = field(default_factory=dict)

    @property
    def crowd_name(self) -> str:
        """all, or the name of the part."""
        return self.crowd.name if isinstance(self.crowd, SubCrowd) else self.crowd

    @property
    def is_part(self) -> bool:
        """Whether it is less than the whole crowd or all reward models."""
        return self.crowd != ALL or self.rewards != ALL


@dataclass(frozen=True)
class Cell:
    """One setting of the grid.

    Args:
        name: the same in every replicate and every experiment with that setting.
        config: of the selection and, where it trains, of training and evaluation; without what a
            replicate sets.
        label: of the method.
        setting: whose answers and scores, and the training.
        trains: whether a model is trained on the choice.
        control: which fair control it is; None for a cell of the grid.
        matches: of a token-matched arm, the cell whose answers' tokens it matches; the config then
            has no `budget_tokens` yet.
    """

    name: str
    config: SelectConfig
    label: str
    setting: Setting
    trains: bool = False
    control: str | None = None
    matches: str | None = None

    @property
    def chooses(self) -> bool:
        """Whether rows are chosen; of the untuned model none are."""
        return self.label != UNTUNED

    @property
    def weights(self) -> str | None:
        """The weights of the metrics, where the user's count."""
        if self.config.method not in METHODS or METHODS[self.config.method] is not None:
            return None
        return weights_text(self.config.weights)

    @property
    def slug(self) -> str:
        """Its name as a folder's."""
        plain = "".join(c if c.isalnum() or c in "._-=" else "-" for c in self.name)[:80]
        return f"{plain}-{sha256(self.name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"

    @property
    def _method(self) -> str:
        if self.matches is not None:
            return TOKEN_MATCHED
        return self.config.method if self.chooses else UNTUNED

    @property
    def facts(self) -> dict[str, Any]:
        """The columns of experiment.parquet that are the same in every replicate."""
        config, training = self.config, self.config.training if self.trains else None
        tokens = config.budget_tokens is not None
        of_choice = {
            "direction": config.direction,
            "clusters": config.clusters,
            "budget": None if tokens else float(config.budget),
            "weights": self.weights,
            "response": response_text(config.response_mode),
            "reward_models": ",".join(config.reward_names),
            "crowd": self.setting.crowd_name,
        }
        return {
            "cell": self.name,
            "method": self._method,
            **(of_choice if self.chooses else dict.fromkeys(of_choice)),
            "base_model": training.base_model if training else None,
            "loss": training.loss if training and self.chooses else None,
            "peft": _peft(self) if self.chooses else None,
        }


def in_replicate(cell: Cell, replicate: Replicate, experiment: ExperimentConfig) -> SelectConfig:
    """Return the config of a cell in one replicate.

    The seed drives the draws of methods and answers, the embedder, the clusters, the training and,
    unless `replicate.split` is off, the held-out split; with `replicate.subsample` also the
    subsample of the pool.
    """
    config, how = cell.config, experiment.replicate
    changed: dict[str, Any] = {"seed": replicate.seed, "experiment": None}
    if config.heldout is not None and config.heldout.share is not None:
        fixed = config.heldout.seed if config.heldout.seed is not None else config.seed
        seed = fixed if how.split is False else None
        changed["heldout"] = config.heldout.model_copy(update={"seed": seed})
    if how.subsample is not None:
        changed["subsample"] = SubsampleConfig(share=how.subsample)
    if config.training is not None:
        changed["training"] = config.training.model_copy(update={"seed": replicate.seed})
    changed["out"] = f"{config.out.rstrip('/')}/cells/{cell.slug}/{replicate.number}"
    return config.model_copy(update=changed)


def as_whole(config: SelectConfig, made: SelectConfig) -> SelectConfig:
    """Return the config that chooses from what was made of it: all answers and scores are there.

    Args:
        config: of the experiment.
        made: the same, on the zoo of all of its rows.
    """
    update = {"heldout": config.heldout, "subsample": config.subsample}
    return made.model_copy(update=update)


def replaced(config: SelectConfig, keys: Keys, *, evaluates: bool = False) -> SelectConfig:
    """Return a config with some keys replaced, checked; a mapping replaces a section's keys alone.

    Args:
        config: resolved.
        keys: by name; None for a section removes it.
        evaluates: whether the config is one of an evaluation.

    Raises:
        UserError: a key or value that cannot be.
    """
    kind = EvaluateConfig if evaluates else type(config)
    told = config.model_dump(exclude_unset=True)
    told |= {"crowd": config.crowd, "reward_models": config.reward_models, "experiment": None}
    merged = _merged(told, {**keys, "experiment": None})
    return checked(kind, merged).resolved()


def weights_text(weights: tuple[float, ...]) -> str:
    """Write weights as the flag --weights takes them, without a headroom of no weight."""
    shown = weights if weights[3:] != (0.0,) else weights[:3]
    return ",".join(f"{w:g}" for w in shown)


def response_text(response: str | list[str]) -> str:
    """Write a response mode as a word."""
    return response if isinstance(response, str) else "|".join(response)


def identity(config: SelectConfig) -> str:
    """Return what tells two configs of cells apart, whatever their place in OUT."""
    told = config.model_dump(mode="json", exclude={"out", "experiment"})
    return sha256(canonical(told)).hexdigest()


def _peft(cell: Cell) -> str | None:
    training = cell.config.training if cell.trains else None
    if training is None:
        return None
    return "full" if training.peft is None else "lora"


def _merged(below: Keys, above: Keys) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        lower = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(lower, Mapping)
        merged[name] = _merged(lower, value) if both else value  # type: ignore[arg-type]
    return merged
