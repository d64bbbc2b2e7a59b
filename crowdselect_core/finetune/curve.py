"""The course of a training: its steps as a table, and how far it is in words."""

import io
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

log = logging.getLogger("crowdselect")

# Columns of OUT/training.parquet; the loss is the mean over the step's trained tokens, in nats.
CURVE = {
    "step": pl.Int64,
    "epoch": pl.Float64,
    "loss": pl.Float64,
    "learning_rate": pl.Float64,
    "grad_norm": pl.Float64,
    "eval_loss": pl.Float64,
}

Progress = Callable[["Step"], None]


@dataclass(frozen=True)
class Step:
    """One optimizer step that was made."""

    step: int
    total: int
    loss: float
    learning_rate: float
    tokens_per_second: float
    seconds_left: float

    def of(self, processes: int) -> "Step":
        """Return the step of a training of several processes, of which one told its own pace."""
        return replace(self, tokens_per_second=self.tokens_per_second * processes)

    @property
    def line(self) -> str:
        """The step as the log has it."""
        return (
            f"step {self.step}/{self.total}  loss {self.loss:.4f}  "
            f"lr {self.learning_rate:.2e}  {self.tokens_per_second:,.0f} tokens/s  "
            f"about {self.seconds_left:,.0f} s left"
        )


def log_step(step: Step) -> None:
    """Log a step as `step 12/60  loss 1.234  ...`."""
    log.info("%-13s %s", "finetune", step.line)


@dataclass
class Pace:
    """How fast this process trains."""

    begun: float = field(default_factory=time.monotonic)
    tokens: int = 0
    steps: int = 0

    def step(self, logs: Mapping[str, Any], at: int, total: int) -> Step:
        """Return the step that was just logged."""
        self.steps += 1
        seconds = max(time.monotonic() - self.begun, 1e-9)
        return Step(
            step=at,
            total=total,
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            tokens_per_second=self.tokens / seconds,
            seconds_left=seconds / self.steps * (total - at),
        )


def curve(history: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the logged steps of a training as a table.

    Output columns: CURVE; eval_loss is null where nothing was held out.
    """
    steps = [{name: entry.get(name) for name in CURVE} for entry in history if "loss" in entry]
    return pl.DataFrame(steps, schema=CURVE)


def curve_parquet(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the table of the logged steps as a parquet file."""
    buffer = io.BytesIO()
    curve(history).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
