"""The grid: the cells that an experiment's lists come to, with the fair controls beside them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from crowdselect_core.config.experiment import (
    LEAVE_ONE_OUT,
    CellsConfig,
    ExperimentConfig,
    SubCrowd,
)
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.experiment.cells import Cell, Replicate, Setting, identity, in_replicate
from crowdselect_core.experiment.controls import LeftOut, controls, token_matched
from crowdselect_core.experiment.settings import NAME, make, required

AXES = (
    "methods", "clusters", "budgets", "weights", "responses", "reward_models", "crowds",
    "trainings",
)  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """The cells of an experiment.

    Args:
        cells: the grid's own first, then the controls.
        replicates: in order.
        left_out: controls that are not there, and why.
    """

    cells: list[Cell]
    replicates: list[Replicate]
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def choosing(self) -> list[Cell]:
        """The cells that choose rows."""
        return [cell for cell in self.cells if cell.chooses]

    @property
    def matched(self) -> dict[str, str]:
        """By the name of a token-matched arm, the cell whose answers' tokens it matches."""
        return {cell.name: cell.matches for cell in self.cells if cell.matches is not None}


@dataclass(frozen=True)
class Point:
    """A cell in one replicate, with its config."""

    cell: Cell
    replicate: Replicate
    config: SelectConfig

    def with_whole_crowd(self, whole: SelectConfig) -> SelectConfig:
        """Return the config with the crowd and the reward models of the whole experiment."""
        return self.config.model_copy(
            update={"crowd": whole.crowd, "reward_models": whole.reward_models}
        )


def points(config: SelectConfig, found: Grid, *, arms: bool = False) -> Iterator[Point]:
    """Yield every choosing cell in every replicate; all cells of a replicate together.

    Args:
        config: resolved.
        found: its grid.
        arms: whether the token-matched arms are yielded, whose budgets are not known yet, or the
            others.
    """
    for replicate in found.replicates:
        for cell in found.choosing:
            if (cell.matches is not None) == arms:
                yield Point(cell, replicate, in_replicate(cell, replicate, required(config)))


def grid(config: SelectConfig, pool_rows: int) -> Grid:
    """Return the cells and replicates of a config.

    Args:
        config: resolved.
        pool_rows: rows that a choice is made from, as far as is known beforehand.

    Raises:
        UserError: a cell that cannot be: an unknown key, model, reward model.
    """
    experiment = required(config)
    if experiment.train and config.training is None:
        raise ConfigError(
            "training is missing, and a model is trained on every choice: name one in the config "
            "file as 'training: {base_model: NAME}', or compare the choices alone by --no-train"
        )
    parts = experiment.cells or [CellsConfig()]
    own = [cell for part in parts for cell in _cells(config, experiment, part)]
    added, left_out = controls(config, own, pool_rows)
    cells = _distinct([*own, *added])
    cells += token_matched(config, cells)
    replicates = [Replicate(number, seed) for number, seed in enumerate(experiment.seeds)]
    return Grid(cells, replicates, left_out)


def _cells(config: SelectConfig, experiment: ExperimentConfig, part: CellsConfig) -> Iterator[Cell]:
    lists: dict[str, list[Any]] = {
        axis: getattr(part, axis) or getattr(experiment, axis) for axis in AXES
    }
    lists["crowds"] = list(_crowds(config, lists["crowds"]))
    if not experiment.train:
        lists["trainings"] = [{}]
    for values in product(*lists.values()):
        point = dict(zip(AXES, values, strict=True))
        method = point["methods"] if isinstance(point["methods"], dict) else {}
        name = method.get("method", point["methods"])
        keys: dict[str, Any] = {
            "method": name,
            "clusters": point["clusters"],
            "budget": point["budgets"],
            **({"weights": point["weights"]} if name == "crowdselect" else {}),
            "response": None if name == "teacher" else point["responses"],
            **{key: value for key, value in method.items() if key != NAME},
        }
        setting = Setting(point["crowds"], point["reward_models"], point["trainings"])
        yield make(config, keys, setting, label=method.get(NAME))


def _crowds(config: SelectConfig, crowds: list[Any]) -> Iterator[SubCrowd | str]:
    for crowd in crowds:
        if crowd == LEAVE_ONE_OUT:
            for family in sorted({m.family for m in config.models}):
                yield SubCrowd(name=f"without-{_word(family)}", without=[family])
        else:
            yield crowd


def _word(family: str) -> str:
    return "".join(c if c.isalnum() or c in "._+-" else "-" for c in family)


def _distinct(cells: list[Cell]) -> list[Cell]:
    """Return the cells without those that are the same setting as an earlier one.

    Raises:
        ConfigError: two settings have one name.
    """
    kept: dict[tuple[bool, str], Cell] = {}
    for cell in cells:
        same = (cell.chooses, identity(cell.config) if cell.chooses else cell.name)
        if same not in kept:
            kept[same] = cell
    names = [cell.name for cell in kept.values()]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(
            f"experiment: two cells have the name {twice[0]!r}; give the method or the training of "
            f"one the key {NAME}"
        )
    return list(kept.values())
