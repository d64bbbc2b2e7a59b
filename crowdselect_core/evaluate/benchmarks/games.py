"""Two games for each question: the model and the baseline, each once as side A."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from crowdselect_core.chat import Message
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate.benchmarks.judged import (
    Costs,
    Replies,
    merged,
    missing_answers,
    missing_verdicts,
)
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import Judge, Verdict
from crowdselect_core.evaluate.judging.prompts import JudgePrompt
from crowdselect_core.evaluate.judging.quality import Game, agreement_notes, pair_notes
from crowdselect_core.evaluate.live import Question, Tools
from crowdselect_core.evaluate.tally import Outcome

Both = tuple[Verdict, Verdict]  # of the two games of a pair
Winners = tuple[str | None, str | None]  # of both games: A, B, C (tie); None: it cannot be read


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


def judged_pairs(
    where: str,
    name: str,
    pairs: Sequence[Pair],
    questions: Sequence[Question],
    models: Sequence[Candidate],
    given: Replies,
    tools: Tools,
    results_of: Callable[[Judge, Sequence[tuple[Pair, Both]]], Outcome],
    winners_of: Callable[[Both], Winners],
) -> Outcome:
    """Have every judge judge the pairs.

    Args:
        where: the benchmark, for messages.
        name: of the benchmark.
        pairs: what is judged.
        questions: of the benchmark.
        models: that are evaluated.
        given: their answers.
        tools: of the run.
        results_of: writes the file of a judge and computes the results from it, of the pairs on
            both games of which the judge replied.
        winners_of: reads the verdicts on a pair.

    Raises:
        EvaluationError: a judge replied in both games of no pair.
    """
    outcomes = [Outcome([], missing_answers(questions, given))]
    said: dict[str, dict[Hashable, float | str]] = {}
    for judge_config in tools.evaluation.judges:
        judge = Judge(judge_config, tools)
        verdicts = judged(judge, pairs, name)
        missing = missing_verdicts(judge, named(pairs, verdicts))
        replied = [
            (pair, both)
            for pair, both in zip(pairs, verdicts, strict=True)
            if all(verdict.words is not None for verdict in both)
        ]
        if not replied:
            raise EvaluationError(f"{where}: {missing[0]}")
        found = results_of(judge, replied)
        costs = Costs(tools, judge)
        for pair, both in zip(pairs, verdicts, strict=True):
            for verdict in both:
                costs.add(pair.model, verdict)
        winners = [winners_of(both) for both in verdicts]
        said[judge.name] = readable(pairs, winners)
        notes = [*missing, *judge_notes(judge.name, pairs, winners)]
        outcomes.append(costs.outcome(found, notes, models, given))
    return merged([*outcomes, Outcome([], agreement_notes(said))])


def judged(judge: Judge, pairs: Sequence[Pair], what: str) -> list[Both]:
    """Return the verdicts on both games of each pair."""
    found = iter(judge.verdicts([game for pair in pairs for game in pair.games], what))
    return [(next(found), next(found)) for _ in pairs]


def named(pairs: Sequence[Pair], verdicts: Sequence[Both]) -> list[tuple[str, Verdict]]:
    """Return every verdict with what it is about."""
    return [
        (f"{pair.model} on question {pair.question.id}", verdict)
        for pair, both in zip(pairs, verdicts, strict=True)
        for verdict in both
    ]


def judge_notes(judge: str, pairs: Sequence[Pair], winners: Sequence[Winners]) -> list[str]:
    """Tell the biases of a judge.

    Args:
        judge: its name.
        pairs: what was judged.
        winners: of both games of each.
    """
    games = []
    for pair, both in zip(pairs, winners, strict=True):
        first, second = len(pair.own), len(pair.other)
        sides = [(first, second), (second, first)]
        if pair.own_is_b:
            sides.reverse()
        games += [Game(winner, *side) for winner, side in zip(both, sides, strict=True)]
    return pair_notes(judge, games)


def readable(pairs: Sequence[Pair], winners: Sequence[Winners]) -> dict[Hashable, float | str]:
    """Return the winners that can be read, by what they are about."""
    return {
        (pair.model, pair.question.id, number): winner
        for pair, both in zip(pairs, winners, strict=True)
        for number, winner in enumerate(both)
        if winner is not None
    }
