"""Calibration of a judge: pairs of answers of known order, of the embedded sample.

Each is the answer of one model, and that of the same model with its weights rounded to 3 bits,
which mostly babbles; the pairs are those whose scores differ most. Every pair is compared in both
orders; a verdict that is a tie, or cannot be read, is not right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from crowdselect_core import sample
from crowdselect_core.chat import Message
from crowdselect_core.config.evaluation import JudgeConfig
from crowdselect_core.evaluate.judging.judge import Judge
from crowdselect_core.evaluate.judging.prompts import own_pair
from crowdselect_core.evaluate.judging.verdicts import read_winner
from crowdselect_core.evaluate.live import Tools

BETTER, WORSE, SCORE = "smollm2-greedy-8bit", "smollm2-sampled-3bit", "pmi"


@dataclass(frozen=True)
class Calibration:
    """What a judge made of pairs of known order.

    Args:
        judge: its name.
        games: comparisons, two a pair.
        right: in which the better answer won.
        unparsed: without a readable verdict.
        first: decided games that side A won, of `decided`.
        decided: games with a winner.
        least: share of right ones below which a warning is given.
        snapshot: the model that the server reports.
    """

    judge: str
    games: int
    right: int
    unparsed: int
    first: int
    decided: int
    least: float
    snapshot: str | None = None

    @property
    def accuracy(self) -> float:
        """Share of the comparisons that are right."""
        return self.right / self.games

    @property
    def note(self) -> str:
        """One line, a warning where the accuracy is too low."""
        told = (
            f"{self.judge}: {self.right} of {self.games} comparisons of known order are right "
            f"({self.accuracy:.0%}), {self.unparsed} unparsed, the first answer won "
            f"{self.first} of {self.decided}"
        )
        if self.accuracy >= self.least:
            return told
        return f"warning: {told}: below {self.least:.0%}, do not trust its verdicts"


def calibrate(config: JudgeConfig, pairs: int, tools: Tools) -> Calibration:
    """Have a judge compare pairs of known order; stored verdicts are not asked for.

    Args:
        config: the judge.
        pairs: how many.
        tools: of the run.

    Raises:
        TooManyFailures: more calls failed than may.
        UserError: the judge cannot be reached.
    """
    judge = Judge(config, tools)
    verdicts = judge.verdicts(prompts(pairs), "pairs of known order")
    winners = [read_winner(v.words, v.finish_reason) for v in verdicts]
    better = ["A", "B"] * (len(winners) // 2)
    return Calibration(
        judge=judge.name,
        games=len(winners),
        right=sum(w == b for w, b in zip(winners, better, strict=True)),
        unparsed=winners.count(None),
        first=winners.count("A"),
        decided=winners.count("A") + winners.count("B"),
        least=tools.evaluation.min_accuracy,
        snapshot=judge.snapshot,
    )


def prompts(pairs: int) -> list[tuple[Message, ...]]:
    """Return what a judge is sent: of each pair, first with the better answer on side A."""
    prompt = own_pair(two_turns=False, reference=False)
    return [
        prompt.filled({"question": question, "answer_a": a, "answer_b": b})
        for question, better, worse in known_pairs(pairs)
        for a, b in ((better, worse), (worse, better))
    ]


def known_pairs(pairs: int) -> Sequence[tuple[str, str, str]]:
    """Return instruction, better and worse answer, those first whose scores differ most."""
    zoo = pl.read_parquet(Path(sample.__file__).parent / "zoo.parquet")
    parts = {name: pl.col(name).struct for name in (BETTER, WORSE)}
    margin = parts[BETTER].field(SCORE) - parts[WORSE].field(SCORE)
    texts = [part.field("content").alias(name) for name, part in parts.items()]
    found = (
        zoo.select("uuid", "instruction", margin.alias("margin"), *texts)
        .drop_nulls()
        .filter(pl.col(BETTER) != "", pl.col(WORSE) != "")
        .sort(pl.col("margin").neg(), "uuid")
        .head(pairs)
    )
    return found.select("instruction", BETTER, WORSE).rows()
