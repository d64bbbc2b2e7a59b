"""Two games for each question: the model and the baseline, each once as side A."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from crowdselect_core.chat import Message
from crowdselect_core.evaluate.judging.judge import Judge, Verdict
from crowdselect_core.evaluate.judging.prompts import JudgePrompt
from crowdselect_core.evaluate.judging.quality import Game, pair_notes
from crowdselect_core.evaluate.live import Question


class Pair(NamedTuple):
    """A model's answer beside the baseline's.

    Args:
        model: its name.
        baseline: the other's.
        question: that both answered.
        own: the model's answer.
        other: the baseline's.
        prompt: of the judge.
        games: what the judge is sent, in the order of the benchmark's games.
        own_is_b: whether the model's answer is side B in game 1.
    """

    model: str
    baseline: str
    question: Question
    own: str
    other: str
    prompt: JudgePrompt
    games: tuple[tuple[Message, ...], tuple[Message, ...]]
    own_is_b: bool = False


def judged(judge: Judge, pairs: Sequence[Pair], what: str) -> list[tuple[Verdict, Verdict]]:
    """Return the verdicts on both games of each pair."""
    found = iter(judge.verdicts([game for pair in pairs for game in pair.games], what))
    return [(next(found), next(found)) for _ in pairs]


def named(
    pairs: Sequence[Pair], verdicts: Sequence[tuple[Verdict, Verdict]]
) -> list[tuple[str, Verdict]]:
    """Return every verdict with what it is about."""
    return [
        (f"{pair.model} on question {pair.question.id}", verdict)
        for pair, both in zip(pairs, verdicts, strict=True)
        for verdict in both
    ]


def is_whole(both: tuple[Verdict, Verdict]) -> bool:
    """Tell whether the judge replied in both games."""
    return all(verdict.words is not None for verdict in both)


def judge_notes(
    judge: str, pairs: Sequence[Pair], winners: Sequence[tuple[str | None, str | None]]
) -> list[str]:
    """Tell the biases of a judge.

    Args:
        judge: its name.
        pairs: what was judged.
        winners: of both games of each: A, B, C (tie), or None where it cannot be read.
    """
    games = []
    for pair, both in zip(pairs, winners, strict=True):
        first, second = len(pair.own), len(pair.other)
        sides = [(first, second), (second, first)]
        if pair.own_is_b:
            sides.reverse()
        games += [Game(winner, *side) for winner, side in zip(both, sides, strict=True)]
    return pair_notes(judge, games)


def readable(
    pairs: Sequence[Pair], winners: Sequence[tuple[str | None, str | None]]
) -> dict[Hashable, float | str]:
    """Return the winners that can be read, by what they are about."""
    return {
        (pair.model, pair.question.id, number): winner
        for pair, both in zip(pairs, winners, strict=True)
        for number, winner in enumerate(both)
        if winner is not None
    }
