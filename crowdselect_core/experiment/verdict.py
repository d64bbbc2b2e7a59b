"""What a comparison says, in one line of plain words.

crowdselect - random: +0.012 [-0.020, 0.044] nats per row over 10 replicates (lower is better):
not distinguishable; 10 replicates find differences from 0.05
"""

import math
from collections.abc import Mapping
from typing import Any

from crowdselect_core.experiment.comparisons import Comparisons
from crowdselect_core.experiment.metric_words import Better, better, unit
from crowdselect_core.experiment.statistics import LEVEL

ENOUGH = 10  # replicates below which no interval is trusted
LEAST = 0.93  # simulated coverage below which the interval of any number of replicates is warned of
ALPHA = 1 - LEVEL

# Measured by `python -m benchmarks.coverage`: the least and the most share of 2,000 draws, over its
# scenarios, in which the corrected 95 % interval holds the true difference.
COVERAGE: Mapping[int, tuple[float, float]] = {
    3: (0.947, 0.983),
    5: (0.937, 0.995),
    10: (0.930, 1.000),
    20: (0.901, 1.000),
    50: (0.895, 1.000),
}


def verdicts(found: Comparisons, *, subsampled: bool) -> list[str]:
    """Return a line per comparison, the primary one first.

    A warning, such as that of fewer than 10 replicates, stands in the first line that it concerns:
    in the others it would say the same again.

    Args:
        found: the comparisons.
        subsampled: whether each replicate chooses from a subsample of its own.
    """
    split, lines, warned = found.heldout_share is not None, list[str](), set[str]()
    for row in found.table.iter_rows(named=True):
        warnings = _warnings(int(row["replicates"]), split, subsampled)
        own = verdict(row, split=split, planned=found.planned, subsampled=subsampled)
        lines.append(own + "".join(f". {w}" for w in warnings if w not in warned))
        warned.update(warnings)
    return lines


def verdict(row: Mapping[str, Any], *, split: bool, planned: int, subsampled: bool) -> str:
    """Say what one comparison shows, without a warning.

    A difference counts as found when its interval excludes 0 and its p (after Holm's correction
    where the comparison is exploratory) is at most 0.05.

    Args:
        row: of schemas.COMPARISONS.
        split: whether the replicates have held-out splits of their own.
        planned: how many replicates there should be.
        subsampled: whether they have subsamples of their own; without either they are training
            seeds.
    """
    n = int(row["replicates"])
    way = better(row["benchmark"], row["metric"])
    varied = split or subsampled
    what = f"{row['a']} - {row['b']}: {numbers(row)} {unit(row['benchmark'], row['metric'])}"
    over = f"over {_counted(n, varied)}" + (f" of {planned} planned" if n < planned else "")
    line = f"{what} {over} ({_direction(way)}): {finding(row, way)}"
    if row["detectable"] is not None and row["detectable"] > 0:
        line += f"; {_counted(n, varied)} find differences from {row['detectable']:.2g}"
    if not row["primary"]:
        line += f"; exploratory, p = {p_text(row['p_holm'])} after Holm's correction"
    return line


def warning(replicates: int, *, split: bool) -> str:
    """Say why an interval is not to be trusted: few replicates, or a low simulated coverage.

    Args:
        replicates: that it is of.
        split: whether they have held-out splits of their own; the simulation is of these alone.

    Returns:
        '' where nothing is to be said.
    """
    few = ""
    if replicates < ENOUGH:
        few = f"Fewer than {ENOUGH} replicates: do not trust the interval"
    known = [r for r in COVERAGE if r <= replicates]
    if not split or not known:
        normal = "it supposes nearly normal differences, which so few cannot show"
        return f"{few} ({normal})" if few else ""
    low, high = COVERAGE[max(known)]
    simulated = (
        f"simulated on nearly normal differences, 95% intervals of {max(known)} replicates held "
        f"the truth in {low:.1%} to {high:.1%} of the cases"
    )
    if few:
        return f"{few} ({simulated}, and yours may do so less often)"
    if low < LEAST:
        return (
            "If every replicate chooses nearly the same rows, as in one simulated experiment, the "
            f"interval is too narrow ({simulated})"
        )
    return ""


def _warnings(n: int, split: bool, subsampled: bool) -> list[str]:
    found = [text] if (text := warning(n, split=split)) else []
    if subsampled and not split:
        found.append(
            "The subsample, the draws and the training seed varied, the held-out rows did not: "
            "the interval is of these rows"
        )
    elif not split:
        found.append("Only the training seed varied, the choice itself did not")
    return found


def finding(row: Mapping[str, Any], way: Better) -> str:
    """Say whether there is a difference, and for whom."""
    if row["low"] is None:
        return "a single replicate has no interval, so nothing can be said"
    if row["low"] == row["high"] == 0:
        return "identical in every replicate"
    if row["low"] <= 0 <= row["high"]:
        return "not distinguishable"
    p = row["p"] if row["primary"] else row["p_holm"]
    if p > ALPHA:
        return f"not distinguishable (the interval excludes 0, but p = {p_text(p)})"
    if way == "unknown":
        return f"{row['a']} is {'higher' if row['difference'] > 0 else 'lower'}"
    won = (row["difference"] > 0) == (way == "higher")
    return f"{row['a']} is {'better' if won else 'worse'}"


def _direction(way: Better) -> str:
    return "which direction is better is not known" if way == "unknown" else f"{way} is better"


def _counted(n: int, varied: bool) -> str:
    name = "replicate" if varied else "training seed"
    return f"{n} {name}" + ("" if n == 1 else "s")


def numbers(row: Mapping[str, Any]) -> str:
    """Write the difference and its interval with two digits of the interval's half width."""
    difference, low, high = row["difference"], row["low"], row["high"]
    half = abs(difference) if low is None else (high - low) / 2
    digits = max(0, 1 - math.floor(math.log10(half))) if half > 0 else 3
    digits = min(digits, 9)
    if low is None:
        return f"{difference:+.{digits}f}"
    return f"{difference:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def p_text(p: float) -> str:
    """Write a p value with two digits."""
    return f"{p:.2g}" if p >= 0.001 else f"{p:.0e}"
