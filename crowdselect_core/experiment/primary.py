"""The one comparison that is named beforehand: of a config, and whether any two cells fit it."""

from collections.abc import Sequence
from itertools import product

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.descriptions import CELLS
from crowdselect_core.experiment.metric_words import METRICS
from crowdselect_core.experiment.pairing import Primary
from crowdselect_core.experiment.results import NAMES
from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.experiment.settings import required

WHERE = "experiment.primary"
OF_CHOICE = tuple(name for name in CELLS if name not in NAMES)
SHARES = ("model_share/", "cluster_share/")  # metrics of a choice that have a name behind them
JUDGED = ("mt-bench", "arena-hard", "pairwise")
ALIKE = ("clusters", "budget", "base_model", "loss", "peft", "response")


def primary_of(config: SelectConfig) -> Primary | None:
    """Return the comparison that was named beforehand; its clusters are the grid's first.

    Where nothing is trained, one on a metric of a benchmark is left out: there is no such result.
    """
    experiment = required(config)
    named = experiment.primary
    if named is None or (not experiment.train and not _is_of_choice(named.metric)):
        return None
    return Primary(
        method=named.method,
        baseline=named.baseline,
        clusters=experiment.clusters[0] if named.clusters is None else named.clusters,
        metric=named.metric,
        benchmark=named.benchmark,
        budget=None if named.budget is None else float(named.budget),
    )


def check_primary(config: SelectConfig, cells: Sequence[Cell]) -> None:
    """Refuse a primary comparison that no results of the grid can make.

    Named anew when the results are there, it would be no primary one any more.

    Args:
        config: resolved; of the experiment.
        cells: of its grid.

    Raises:
        ConfigError: no two cells are alike but for its methods, or no benchmark has its metric.
    """
    named = required(config).primary
    if named is None:
        return
    primary, choosing = primary_of(config), [cell.facts for cell in cells if cell.chooses]
    methods = sorted({facts["method"] for facts in choosing})
    for key in ("method", "baseline"):
        if (method := getattr(named, key)) not in methods:
            raise ConfigError(
                f"{WHERE}.{key}: no cell has the method {method!r}{nearest(method, methods)} "
                f"(there are {shown(methods)})"
            )
    _check_metric(config, cells)
    if primary is None:
        return
    sides = [
        [
            facts
            for facts in choosing
            if facts["method"] == method
            and facts["clusters"] == primary.clusters
            and primary.budget in (None, facts["budget"])
            and facts["direction"] != "bottom"
        ]
        for method in (primary.method, primary.baseline)
    ]
    if not any(a is not b and all(a[k] == b[k] for k in ALIKE) for a, b in product(*sides)):
        budget = "" if named.budget is None else f", budget {named.budget:g}"
        raise ConfigError(
            f"{WHERE}: no two cells are {named.method} and {named.baseline} with "
            f"{primary.clusters} clusters{budget} and the same training and response: list both "
            "in experiment.methods, or correct clusters and budget"
        )


def _check_metric(config: SelectConfig, cells: Sequence[Cell]) -> None:
    named = required(config).primary
    if named is None or (_is_of_choice(named.metric) and named.benchmark in (None, CHOICE)):
        return
    found = {
        benchmark.name or benchmark.kind: benchmark.kind
        for cell in cells
        if isinstance(cell.config, EvaluateConfig) and cell.config.evaluation is not None
        for benchmark in cell.config.evaluation.benchmarks
    }
    if required(config).train and named.benchmark is not None and named.benchmark not in found:
        raise ConfigError(
            f"{WHERE}.benchmark: no benchmark is named {named.benchmark!r}"
            f"{nearest(named.benchmark, found)} (there are {shown(sorted(found))})"
        )
    kinds: list[str] = [kind for name, kind in found.items() if named.benchmark in (None, name)]
    if required(config).train and any(kind not in METRICS for kind in kinds):
        return  # of a task or a command of the user's: its metrics are known when it has run
    if not required(config).train:
        kinds = list(METRICS)  # the metric of a training that is left out this time
    of_choice = OF_CHOICE if named.benchmark in (None, CHOICE) else ()
    known = sorted({*of_choice, *(metric for kind in kinds for metric in METRICS.get(kind, ()))})
    metric = named.metric.split(" (")[0]  # a judge stands in brackets behind it
    if metric not in known:
        raise ConfigError(
            f"{WHERE}.metric: {named.metric!r} is no metric of the benchmarks here"
            f"{nearest(metric, known)} (they have {shown(known, 20)})"
        )
    judges = _judges(cells)
    judged = {m for kind in kinds if kind in JUDGED for m in METRICS[kind]}
    plain = {m for kind in kinds if kind not in JUDGED for m in METRICS[kind]}
    several = metric in judged and len(judges) > 1
    wanted = [f"{metric} ({judge})" for judge in judges] if several else [metric]
    wanted += [metric] if several and metric in plain else []
    if required(config).train and named.metric not in wanted:
        raise ConfigError(
            f"{WHERE}.metric: {named.metric!r} is a metric of no result, expected "
            f"{' or '.join(map(repr, wanted))}"
        )


def _judges(cells: Sequence[Cell]) -> list[str]:
    evaluations = [
        cell.config.evaluation for cell in cells if isinstance(cell.config, EvaluateConfig)
    ]
    return sorted({judge.name for one in evaluations if one is not None for judge in one.judges})


def _is_of_choice(metric: str) -> bool:
    return metric in OF_CHOICE or metric.startswith(SHARES)
