"""The one comparison that is named beforehand: of a config, and whether any two cells fit it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.config.experiment import PrimaryConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.descriptions import CELLS
from crowdselect_core.experiment.metric_words import METRICS
from crowdselect_core.experiment.pairing import Primary
from crowdselect_core.experiment.results import NAMES
from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.experiment.settings import required

Facts = Mapping[str, Any]  # of a cell, see Cell.facts

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
    choosing = [cell.facts for cell in cells if cell.chooses]
    _check_methods(named, choosing)
    _check_metric(named, cells, trained=required(config).train)
    if (primary := primary_of(config)) is not None:
        _check_pair(primary, choosing)


def _check_methods(named: PrimaryConfig, choosing: Sequence[Facts]) -> None:
    """Refuse a method that no cell has."""
    methods = sorted({facts["method"] for facts in choosing})
    for key, method in (("method", named.method), ("baseline", named.baseline)):
        if method not in methods:
            raise ConfigError(
                f"{WHERE}.{key}: no cell has the method {method!r}{nearest(method, methods)} "
                f"(there are {shown(methods)})"
            )


def _check_pair(primary: Primary, choosing: Sequence[Facts]) -> None:
    """Refuse methods of which no two cells are alike in all else."""
    a_side, b_side = (
        [facts for facts in choosing if _is_side(facts, method, primary)]
        for method in (primary.method, primary.baseline)
    )
    pairs = ((a, b) for a, b in product(a_side, b_side) if a is not b)
    if not any(all(a[key] == b[key] for key in ALIKE) for a, b in pairs):
        budget = "" if primary.budget is None else f", budget {primary.budget:g}"
        raise ConfigError(
            f"{WHERE}: no two cells are {primary.method} and {primary.baseline} with "
            f"{primary.clusters} clusters{budget} and the same training and response: list both "
            "in experiment.methods, or correct clusters and budget"
        )


def _is_side(facts: Facts, method: str, primary: Primary) -> bool:
    """Tell whether a cell may be one side of the comparison."""
    return (
        facts["method"] == method
        and facts["clusters"] == primary.clusters
        and primary.budget in (None, facts["budget"])
        and facts["direction"] != "bottom"
    )


def _check_metric(named: PrimaryConfig, cells: Sequence[Cell], *, trained: bool) -> None:
    """Refuse a metric that no result can have.

    Args:
        named: the comparison.
        cells: of the grid.
        trained: whether models are; else the metric may be one of a training that is left out.
    """
    if _is_of_choice(named.metric) and named.benchmark in (None, CHOICE):
        return
    if not trained:
        _check_known(named, METRICS)
        return
    benchmarks = _benchmarks(cells)
    if named.benchmark is not None and named.benchmark not in benchmarks:
        raise ConfigError(
            f"{WHERE}.benchmark: no benchmark is named {named.benchmark!r}"
            f"{nearest(named.benchmark, benchmarks)} (there are {shown(sorted(benchmarks))})"
        )
    kinds = {kind for name, kind in benchmarks.items() if named.benchmark in (None, name)}
    if not kinds <= METRICS.keys():
        return  # of a task or a command of the user's: its metrics are known when it has run
    _check_known(named, kinds)
    wanted = _as_results_have_it(_without_judge(named.metric), kinds, _judges(cells))
    if named.metric not in wanted:
        raise ConfigError(
            f"{WHERE}.metric: {named.metric!r} is a metric of no result, expected "
            f"{' or '.join(map(repr, wanted))}"
        )


def _check_known(named: PrimaryConfig, kinds: Iterable[str]) -> None:
    """Refuse a metric that neither these kinds of benchmarks nor, where it may, a choice has."""
    of_choice = OF_CHOICE if named.benchmark in (None, CHOICE) else ()
    known = sorted({*of_choice, *_metrics(kinds)})
    metric = _without_judge(named.metric)
    if metric not in known:
        raise ConfigError(
            f"{WHERE}.metric: {named.metric!r} is no metric of the benchmarks here"
            f"{nearest(metric, known)} (they have {shown(known, 20)})"
        )


def _as_results_have_it(metric: str, kinds: set[str], judges: Sequence[str]) -> list[str]:
    """Return the names of a metric in the results: with a judge where several give it."""
    judged = kinds.intersection(JUDGED)
    if len(judges) < 2 or metric not in _metrics(judged):
        return [metric]
    plain = [metric] if metric in _metrics(kinds - judged) else []
    return [*(f"{metric} ({judge})" for judge in judges), *plain]


def _metrics(kinds: Iterable[str]) -> set[str]:
    return {metric for kind in kinds for metric in METRICS[kind]}


def _without_judge(metric: str) -> str:
    """Return a metric's name without the judge, which stands in brackets behind it."""
    return metric.split(" (")[0]


def _benchmarks(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the kinds of the benchmarks by their names."""
    return {
        benchmark.name or benchmark.kind: benchmark.kind
        for evaluation in _evaluations(cells)
        for benchmark in evaluation.benchmarks
    }


def _judges(cells: Sequence[Cell]) -> list[str]:
    return sorted({judge.name for evaluation in _evaluations(cells) for judge in evaluation.judges})


def _evaluations(cells: Sequence[Cell]) -> list[EvaluationConfig]:
    configs = (cell.config for cell in cells if isinstance(cell.config, EvaluateConfig))
    return [config.evaluation for config in configs if config.evaluation is not None]


def _is_of_choice(metric: str) -> bool:
    return metric in OF_CHOICE or metric.startswith(SHARES)
