"""The tables that an experiment writes: experiment.parquet, comparisons.parquet, overlaps.parquet.

A *cell* is one setting of the grid (method, clusters, budget, ..., training); it has one name in
all replicates. A *replicate* is one repetition of all cells: its own held-out split, subsample of
the pool, draws and training seed, which the cells of that replicate share. So two cells are paired
by `replicate`.
"""

import polars as pl

from crowdselect_core.tables import Columns

EXPERIMENT_FILE = "experiment.parquet"
COMPARISONS_FILE = "comparisons.parquet"
OVERLAPS_FILE = "overlaps.parquet"

CHOICE = "choice"  # the benchmark of what is measured of a choice, without training

# A row per cell, replicate and metric.
EXPERIMENT: Columns = {
    "cell": pl.String,  # name of the cell, e.g. "crowdselect k=10 n=1000"
    "method": pl.String,  # untuned: nothing is chosen; token-matched-random: see docs
    "direction": pl.String,  # top or bottom; null for untuned
    "clusters": pl.Int64,  # 0: none
    # rows, or below 1 a share of the eligible; null: tokens, or untuned. Of a token-matched arm
    # that of the cell that it matches
    "budget": pl.Float64,
    "weights": pl.String,  # "1,1,2"; null where the method weighs nothing
    "response": pl.String,  # whose answer is kept: best, random, ... or a model's name
    "reward_models": pl.String,  # names joined by ","
    "crowd": pl.String,  # all, or the name of the sub-crowd
    "base_model": pl.String,  # null where nothing is trained
    "loss": pl.String,  # sft, dpo, simpo, orpo; null where nothing is trained
    "peft": pl.String,  # full or lora; null where nothing is trained
    "seed": pl.Int64,  # of the draws and the training in this replicate
    "replicate": pl.Int64,  # 0, 1, ...
    "benchmark": pl.String,  # as leaderboard.parquet, or choice
    "metric": pl.String,  # as leaderboard.parquet; of choice see docs/experiment.md
    "value": pl.Float64,  # null: missing
    "low": pl.Float64,  # ends of the interval over the items of one replicate: descriptive
    "high": pl.Float64,
    "n": pl.Int64,  # items that the value is computed from
    "answer_tokens": pl.Int64,  # of the kept answers of the cell, estimated as UTF-8 bytes / 4
    "steps": pl.Int64,  # optimizer steps; null where nothing is trained
    "cost_tokens": pl.Int64,  # tokens that were trained on over all epochs; 0 without training
    "cost_seconds": pl.Float64,  # of the cell when it was computed; null where not known
    "cached": pl.Boolean,  # the cell was in the store before this run
}

# A row per pair of cells and metric: a minus b over the replicates that both have.
COMPARISONS: Columns = {
    "a": pl.String,  # cells
    "b": pl.String,
    "primary": pl.Boolean,  # the one comparison that was named beforehand
    "benchmark": pl.String,
    "metric": pl.String,
    "budget": pl.Float64,
    "base_model": pl.String,
    "loss": pl.String,
    "difference": pl.Float64,  # mean over replicates of a - b, in the metric's unit
    "low": pl.Float64,  # 95 % t interval; null below two replicates
    "high": pl.Float64,
    "p": pl.Float64,  # of sign flips, two-sided
    "p_holm": pl.Float64,  # over the exploratory comparisons; of the primary one equal to p
    "replicates": pl.Int64,  # pairs
    "detectable": pl.Float64,  # smallest difference found with power 0.8
}

# A row per pair of cells of one budget: how much of the choice they share.
OVERLAPS: Columns = {
    "a": pl.String,
    "b": pl.String,
    "budget": pl.Float64,
    "jaccard": pl.Float64,  # rows of both / rows of either, mean over replicates, 0 to 1
    "expected": pl.Float64,  # what two random choices of these sizes share
    "low": pl.Float64,  # ends of the interval over replicates; null below two
    "high": pl.Float64,
}
