"""The fair controls of an experiment: what a method must beat to be worth its cost.

Each stands beside every group of cells that share budget, response rule, crowd, reward models and
training, so that like is compared with like.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crowdselect_core.config.experiment import CONTROLS, Control
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.experiment.cells import TOKEN_MATCHED, Cell, Setting, replaced
from crowdselect_core.experiment.settings import make, required, untuned

LONGEST, FULL = "longest-answer", "full-pool"  # labels of methods


@dataclass(frozen=True)
class LeftOut:
    """Controls that do not stand beside the methods.

    Args:
        controls: their names.
        why: in a few words.
    """

    controls: list[str]
    why: str

    @property
    def note(self) -> str:
        """The sentence that a log and a note say it in."""
        what = "control" if len(self.controls) == 1 else "controls"
        return f"{what} {', '.join(self.controls)}: left out, {self.why}"


@dataclass(frozen=True)
class _Group:
    """Cells that are compared with each other."""

    setting: Setting
    budget: dict[str, Any]
    response: str | list[str]
    clusters: list[int]


def controls(
    config: SelectConfig, cells: list[Cell], pool_rows: int
) -> tuple[list[Cell], list[LeftOut]]:
    """Return the controls of the cells of a grid, and why some of them are not there.

    Args:
        config: resolved; of the whole experiment.
        cells: of the grid.
        pool_rows: rows of the pool, as far as is known.
    """
    experiment, wanted = required(config), list(required(config).wanted_controls)
    left_out = _left_out(config, pool_rows, wanted)
    found: list[Cell] = []
    for group in _groups(config, cells):
        for control in wanted:
            for keys, label in _keys(config, control, group):
                found.append(make(config, keys, group.setting, label=label, control=control))
    if "untuned" in wanted and experiment.train:
        bases = {c.config.training.base_model: c for c in cells if c.config.training}
        found += [untuned(cell) for cell in bases.values()]
    return found, left_out


def token_matched(config: SelectConfig, cells: Sequence[Cell]) -> list[Cell]:
    """Return the token-matched arms of cells: random rows, and of a cell with clusters random rows
    of these too. Their budgets follow in `token_matching`, once the choices are made.

    Args:
        config: resolved; of the whole experiment.
        cells: of the grid, and its controls.

    Raises:
        ConfigError: a method is named that no cell has.
    """
    wanted = required(config).token_matched
    if isinstance(wanted, bool):
        named = [c for c in cells if c.control is None] if wanted else []
    else:
        known = sorted({c.config.method for c in cells if _varies(c)} | {c.label for c in cells})
        for name in wanted:
            if name not in known:
                raise ConfigError(
                    f"experiment.token_matched: no cell is of the method {name!r}"
                    f"{nearest(name, known)} ({shown(known)})"
                )
        named = [c for c in cells if {c.config.method, c.label} & {*wanted}]
    return [
        _arm(cell, clusters)
        for cell in named
        if _varies(cell)
        for clusters in dict.fromkeys((0, cell.config.clusters))
        if clusters != 1
    ]


def _left_out(config: SelectConfig, pool_rows: int, wanted: list[Control]) -> list[LeftOut]:
    """Take the controls that cannot be out of those that are wanted, and say why."""
    experiment = required(config)
    unwanted = [name for name in CONTROLS if name not in experiment.wanted_controls]
    found = [LeftOut([*unwanted], "not asked for by experiment.controls")] if unwanted else []
    if "teacher" in wanted and config.teacher.model is None:
        wanted.remove("teacher")
        found.append(LeftOut(["teacher"], "no model is named by teacher.model"))
    if "full-pool" in wanted and pool_rows > experiment.full_pool_rows:
        wanted.remove("full-pool")
        found.append(
            LeftOut(
                ["full-pool"],
                f"the pool has about {pool_rows:,} rows, more than experiment.full_pool_rows "
                f"{experiment.full_pool_rows:,}",
            )
        )
    if "untuned" in wanted and not experiment.train:
        wanted.remove("untuned")
        found.append(LeftOut(["untuned"], "nothing is trained"))
    return found


def _groups(config: SelectConfig, cells: list[Cell]) -> Iterator[_Group]:
    found: dict[str, _Group] = {}
    # The response rules of these two are no rule of the others.
    ruled = [c for c in cells if c.config.method not in ("random", "teacher")]
    for cell in ruled or cells:
        own, response = cell.config, cell.config.response_mode
        tokens = own.budget_tokens
        budget = {"budget": own.budget} | ({"budget_tokens": tokens} if tokens else {})
        key = repr((cell.setting, budget, response))
        group = found.setdefault(key, _Group(cell.setting, budget, response, []))
        if own.clusters > 1 and own.clusters not in group.clusters:
            group.clusters.append(own.clusters)
    for group in found.values():
        if not group.clusters and config.clusters > 1:
            group.clusters.append(config.clusters)
        yield group


def _keys(
    config: SelectConfig, control: Control, group: _Group
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the config keys of a control, and the label of its method where it has one."""
    flat = {**group.budget, "clusters": 0, "response": group.response}
    if control == "random":
        yield {**flat, "method": "random"}, None
    elif control == "random-clusters":
        for clusters in group.clusters:
            yield {**flat, "method": "random", "clusters": clusters}, None
    elif control == "paper-random":
        yield {**flat, "method": "random", "response": "random"}, None
    elif control == "reward":
        yield {**flat, "method": "reward"}, None
    elif control == "length":
        yield {**flat, "method": "length", "length": {"of": "response"}}, LONGEST
    elif control == "teacher":
        yield {**flat, "method": "teacher", "response": None}, None
    elif control == "full-pool":
        yield {**flat, "method": "random", "budget": 1.0, "budget_tokens": None}, FULL


def _varies(cell: Cell) -> bool:
    """Tell whether the rows of a cell are not random ones themselves."""
    return cell.chooses and cell.config.method not in ("random", "teacher")


def _arm(cell: Cell, clusters: int) -> Cell:
    keys = {
        "method": "random", "direction": "top", "clusters": clusters,
        "budget_tokens_of": "answer", "response": cell.config.response_mode,
    }  # fmt: skip
    return replace(
        cell,
        name=f"{TOKEN_MATCHED} k={clusters} of {cell.name}",
        config=replaced(cell.config, keys, evaluates=cell.trains),
        label=TOKEN_MATCHED,
        control=TOKEN_MATCHED,
        matches=cell.name,
    )
