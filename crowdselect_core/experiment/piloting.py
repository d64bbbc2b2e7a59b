"""The advisor of an experiment: a pilot of one of its cells, and what answers and scores cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from crowdselect_core.config.experiment import AdvisorConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, UserError, nearest, shown
from crowdselect_core.experiment.advisor import ADVICE, advise
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.crowd_curve import crowd_curve
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.sensitivity import SENSITIVITY, sensitivity
from crowdselect_core.experiment.settings import required
from crowdselect_core.experiment.stored_pilot import stored_pilot
from crowdselect_core.experiment.sub_crowds import Prices
from crowdselect_core.models.token_count import estimate
from crowdselect_core.stages.crowd.dataset_answers import given_answers
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import RankedArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.tables import METRIC_NAMES

SAMPLE = 200  # rows whose answers' tokens are estimated
WEIGHTS = ((1.0, 1.0, 1.0), (1.0, 1.0, 1.5), (1.0, -1.0, 1.5), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0))


@dataclass(frozen=True)
class Advised:
    """What the advisor found.

    Args:
        advice: advisor.ADVICE.
        sensitivity: sensitivity.SENSITIVITY.
        lines: all of it in plain words.
    """

    advice: pl.DataFrame
    sensitivity: pl.DataFrame
    lines: list[str]


def advised(
    config: AdvisorConfig, store: Store, cells: Sequence[tuple[Cell, Made]], rows: int
) -> Advised:
    """Advise on the crowd by the first cell that weighs all metrics of the whole crowd.

    Args:
        config: the section.
        store: where the artifacts are.
        cells: of one replicate.
        rows: of the data set, that the cost is of.
    """
    nothing = (pl.DataFrame(schema=dict(ADVICE)), pl.DataFrame(schema=dict(SENSITIVITY)))
    for cell, made in cells:
        fits = cell.config.method == "crowdselect" and not cell.setting.is_part
        if fits and made.rows is not None and cell.config.budget_tokens is None:
            try:
                return _advised(config, store, cell, made.rows, rows)
            except UserError as e:  # too few rows for a pilot: the experiment has its results
                return Advised(*nothing, [f"advisor: {str(e).removeprefix('advisor: ')}"])
    return Advised(*nothing, ["advisor: no cell of the method crowdselect has the whole crowd"])


def _advised(
    config: AdvisorConfig, store: Store, cell: Cell, made: RankedArtifacts, rows: int
) -> Advised:
    pilot = stored_pilot(cell.config, store, made)
    prices = prices_of(config, cell.config, store, made)
    found = advise(pilot, prices, config.keep, rows, seed=cell.config.seed)
    curve = crowd_curve(pilot, seed=cell.config.seed)
    changed = sensitivity(pilot, [w for w in WEIGHTS if w != tuple(cell.config.weights[:3])])
    weights = zip(METRIC_NAMES, cell.config.weights, strict=True)
    weighed = ", ".join(f"{name} {weight:g}" for name, weight in weights if weight)
    where = (
        f"advisor: judged on the {len(pilot.ids):,} rows of replicate 0, by what {cell.name} "
        f"chooses of them (weights: {weighed})."
    )
    return Advised(found.table, changed, [where, *found.lines, *curve.lines])


def check_prices(config: SelectConfig) -> None:
    """Refuse prices of names that are not here, and such that are missing.

    Args:
        config: resolved; of the experiment.

    Raises:
        ConfigError: a name of advisor.prices is none of the crowd or the reward models, or one of
            these has no price while others have.
    """
    advisor = required(config).advisor
    if advisor is None or not advisor.prices:
        return
    known = [*(m.name for m in config.models), *config.reward_names]
    for name in advisor.prices:
        if name not in known:
            raise ConfigError(
                f"experiment.advisor.prices: {name!r} is neither a crowd model nor a reward model"
                f"{nearest(name, known)} (there are {shown(known)})"
            )
    if missing := [name for name in known if name not in advisor.prices]:
        raise ConfigError(
            f"experiment.advisor.prices: no price of {shown(missing)}: give one per row, 0 where "
            "it costs nothing"
        )


def prices_of(
    config: AdvisorConfig, cell: SelectConfig, store: Store, made: RankedArtifacts
) -> Prices:
    """Return the prices of the config, else tokens as estimated from a sample of the rows."""
    if config.prices:
        names = [m.name for m in cell.models]
        answer = {n: p for n, p in config.prices.items() if n in names}
        score = {n: p for n, p in config.prices.items() if n in cell.reward_names}
        return Prices(answer, score, config.unit)
    dataset = open_dataset(cell)
    rows = made.instructions.open(store).frame().head(SAMPLE)
    prompts = [prompt.text for _, prompt in prompts_of(dataset, rows)]
    asked = float(np.mean(estimate(prompts))) if prompts else 0.0
    answer = {}
    for model in cell.models:
        texts = [text for _, text, _ in given_answers(dataset, rows, model.name) if text]
        answer[model.name] = float(np.mean(estimate(texts))) if texts else 0.0
    read = asked + float(np.mean(list(answer.values())))
    return Prices(answer, dict.fromkeys(cell.reward_names, read), "tokens")
