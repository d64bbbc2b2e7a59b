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
    "eval_loss": pl.Float64,  # null
}
# Further columns of preference training, by TRL's names: the share of pairs whose chosen answer has
# the higher reward, and the mean difference of the two rewards
REWARDS = {
    "reward_accuracy": "rewards/accuracies",
    "reward_margin": "rewards/margins",
}

IS_STEP = {"is_step": True}  # marks log records of which a training has thousands

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
    reward_accuracy: float | None = None

    def of(self, processes: int) -> "Step":
        """Return the step of a training of several processes, of which one told its own pace."""
        return replace(self, tokens_per_second=self.tokens_per_second * processes)

    @property
    def line(self) -> str:
        """The step as the log has it."""
        right = self.reward_accuracy
        accuracy = "" if right is None else f"accuracy {right:.2f}  "
        return (
            f"step {self.step}/{self.total}  loss {self.loss:.4f}  {accuracy}"
            f"lr {self.learning_rate:.2e}  {self.tokens_per_second:,.0f} tokens/s  "
            f"about {self.seconds_left:,.0f} s left"
        )


def log_step(step: Step) -> None:
    """Log a step as `step 12/60  loss 1.234  ...`."""
    log.info("%-13s %s", "finetune", step.line, extra=IS_STEP)


@dataclass
class Pace:
    """How fast this process trains."""

    begun: float = field(default_factory=time.monotonic)
    tokens: int = 0
    steps: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens of the steps that were made, by the time they took."""
        return self.tokens / max(time.monotonic() - self.begun, 1e-9)

    def step(self, logs: Mapping[str, Any], at: int, total: int) -> Step:
        """Return the step that was just logged."""
        self.steps += 1
        seconds = max(time.monotonic() - self.begun, 1e-9)
        return Step(
            step=at,
            total=total,
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            tokens_per_second=self.tokens_per_second,
            seconds_left=seconds / self.steps * (total - at),
            reward_accuracy=logs.get(REWARDS["reward_accuracy"]),
        )


def curve(history: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the logged steps of a training as a table.

    Output columns: CURVE, and REWARDS of a training on pairs. eval_loss is null: nothing is
    evaluated during a training; a loss on held-out rows is the benchmark heldout-loss.
    """
    logged = [entry for entry in history if "loss" in entry]
    rewards = {n: t for n, t in REWARDS.items() if any(t in entry for entry in logged)}
    names = {**{name: name for name in CURVE}, **rewards}
    steps = [{name: entry.get(told) for name, told in names.items()} for entry in logged]
    return pl.DataFrame(steps, schema={**CURVE, **dict.fromkeys(rewards, pl.Float64)})


def curve_parquet(history: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the table of the logged steps as a parquet file."""
    buffer = io.BytesIO()
    curve(history).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
