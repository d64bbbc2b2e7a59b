"""Which way a metric is better, and what its unit is called.

The metrics are those of the leaderboard (see `evaluate/leaderboard.py`); of a metric that a user's
own command prints, nobody can know the direction.
"""

from typing import Literal

from crowdselect_core.experiment.schemas import CHOICE

Better = Literal["higher", "lower", "unknown"]

# By kind of benchmark, its metrics; of lm-eval and command only their results tell.
METRICS = {
    "heldout-loss": ("loss", "loss_per_row"),
    "mt-bench": ("turn_1", "turn_2", "average", "win_rate", "loss_rate", "win_rate_adjusted"),
    "arena-hard": ("win_rate", "win_rate_style_controlled"),
    "pairwise": ("win_rate",),
    "reward-win-rate": ("win_rate",),
}
LOWER = {"loss", "loss_per_row", "loss_rate"}
HIGHER = {
    *("turn_1", "turn_2", "average", "win_rate", "win_rate_adjusted"),
    "win_rate_style_controlled",
}
# What lm-eval prints after the slash of TASK/METRIC.
LM_EVAL_LOWER = {
    *("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"),
    *("brier_score", "ter", "likelihood_diff"),
}
LM_EVAL_HIGHER = {
    *("acc", "acc_norm", "acc_mutual_info", "exact_match", "f1", "mcc", "bleu", "chrf"),
    *("prompt_level_strict_acc", "prompt_level_loose_acc"),
    *("inst_level_strict_acc", "inst_level_loose_acc"),
    *("rouge1", "rouge2", "rougeL", "bleu_acc", "rouge1_acc", "rouge2_acc", "rougeL_acc"),
}
UNITS = {
    ("heldout-loss", "loss"): "nats per token",
    ("heldout-loss", "loss_per_row"): "nats per row",
    ("arena-hard", "win_rate"): "percentage points of win rate",
    ("arena-hard", "win_rate_style_controlled"): "percentage points of win rate, style controlled",
    ("mt-bench", "average"): "points of 10",
    ("mt-bench", "turn_1"): "points of 10, first turn",
    ("mt-bench", "turn_2"): "points of 10, second turn",
}


def better(benchmark: str, metric: str) -> Better:
    """Return which direction of a metric is better; unknown for what is not known here.

    A judge in brackets after the metric, as experiment.parquet has it, does not count.
    """
    metric = metric.split(" (")[0]
    if benchmark in ("command", CHOICE):
        return "unknown"
    if benchmark == "lm-eval":
        name = metric.rsplit("/", 1)[-1].split(",")[0]
        return _of(name, LM_EVAL_LOWER, LM_EVAL_HIGHER)
    return _of(metric, LOWER, HIGHER)


def unit(benchmark: str, metric: str) -> str:
    """Name the unit of a difference of a metric."""
    return UNITS.get((benchmark, metric.split(" (")[0]), f"{metric} of {benchmark}")


def _of(name: str, lower: set[str], higher: set[str]) -> Better:
    if name in lower:
        return "lower"
    return "higher" if name in higher else "unknown"
