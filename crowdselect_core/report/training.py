"""A training in lines of text, and its loss curve as rows of a table."""

import io
from collections.abc import Mapping
from typing import Any

import polars as pl

from crowdselect_core.store.backend.open import open_backend

POINTS = 200  # rows of the table that the UI shows


def training_lines(told: Mapping[str, Any]) -> list[str]:
    """Say what was trained.

    Args:
        told: what OUT/training.json says.
    """
    if "command" in told["recipe"]:
        return _lines_of_a_command(told)
    recipe = told["recipe"]
    kind = f"LoRA r={recipe['peft']['r']}" if recipe["peft"] else "all weights"
    what = "pairs" if recipe["loss"] != "sft" else "rows"
    left_out = told["dropped_long"] + told["dropped_untrained"]
    return [
        f"trained      {told['base_model']}, {recipe['loss']}, {kind}, {told['steps']:,} steps",
        f"{what:<12} {told['rows']:,}: {told['trained_tokens']:,} of {told['tokens']:,} tokens "
        f"trained; {told['truncated']:,} {what} cut, {left_out:,} left out",
        f"loss         {told['first_loss']:.4f} at the first step, {told['last_loss']:.4f} at the "
        "last (each over its own rows)",
    ]


def _lines_of_a_command(told: Mapping[str, Any]) -> list[str]:
    kind = "an adapter" if told["recipe"]["peft"] else "whole weights"
    return [
        f"trained      {told['base_model']} by training.command, {kind}",
        f"rows         {told['rows']:,}; steps and losses are in the command's own files",
    ]


def curve_rows(out: str) -> list[dict[str, Any]]:
    """Return the loss curve of OUT/training.parquet, at most POINTS steps of it."""
    frame = pl.read_parquet(io.BytesIO(open_backend(out).read("training.parquet")))
    every = max(1, -(-frame.height // POINTS))
    return frame.gather_every(every).select("step", "epoch", "loss", "learning_rate").to_dicts()
