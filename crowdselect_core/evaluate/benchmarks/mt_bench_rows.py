"""The rows of MT-Bench's files, what a judge is sent, and what its verdicts tell of it."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from crowdselect_core.chat import Message
from crowdselect_core.evaluate import files, mt_bench
from crowdselect_core.evaluate.answers import Reply
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import Judge, Verdict
from crowdselect_core.evaluate.judging.prompts import JudgePrompt
from crowdselect_core.evaluate.judging.quality import Game, pair_notes, rating_notes
from crowdselect_core.evaluate.judging.verdicts import read_rating, read_winner
from crowdselect_core.evaluate.live import Question

UNPARSED, TIE, ERROR = mt_bench.MISSING, "tie", "error"


class Item(NamedTuple):
    """One answer, or one pair of answers, to one turn."""

    model: str
    question: Question
    turn: int  # 0 or 1
    prompt: JudgePrompt
    games: tuple[tuple[Message, ...], ...]  # one, or both orders of a pair
    lengths: tuple[int, ...]  # of the answers, in the order of game 1


def readable(
    items: Sequence[Item], verdicts: Sequence[tuple[Verdict, ...]]
) -> dict[Hashable, float | str]:
    """Return the verdicts that can be read, by what they are about."""
    found: dict[Hashable, float | str] = {}
    for item, games in zip(items, verdicts, strict=True):
        for number, v in enumerate(games):
            value: float | str | None = read_winner(v.words, v.finish_reason)
            if len(games) == 1:
                value = _rating(item, v)
            if value is not None:
                found[item.model, item.question.id, item.turn, number] = value
    return found


def biases(judge: str, items: Sequence[Item], verdicts: Sequence[tuple[Verdict, ...]]) -> list[str]:
    """Tell which side or length a judge prefers."""
    ratings: list[tuple[float, int]] = []
    games: list[Game] = []
    for item, own in zip(items, verdicts, strict=True):
        if len(own) == 1:
            rating = _rating(item, own[0])
            ratings += [] if rating is None else [(rating, item.lengths[0])]
            continue
        for v, (a, b) in zip(own, (item.lengths, item.lengths[::-1]), strict=True):
            games.append(Game(read_winner(v.words, v.finish_reason), a, b))
    return rating_notes(judge, ratings) + pair_notes(judge, games)


def values(
    question: Question, turn: int, reference: list[str] | None, sides: Sequence[Reply]
) -> dict[str, str]:
    """Return what the placeholders of a prompt stand for."""
    told = {"question": question.turns[0]} if turn == 0 else {}
    if turn:
        told |= {f"question_{i + 1}": question.turns[i] for i in range(2)}
    if reference is not None:
        told |= {f"ref_answer_{i + 1}": reference[i] for i in range(turn + 1)}
    letters = [""] if len(sides) == 1 else ["_a", "_b"]
    for letter, reply in zip(letters, sides, strict=True):
        if turn == 0:
            told[f"answer{letter}"] = reply.turns[0]
        else:
            told |= {f"answer{letter}_{i + 1}": reply.turns[i] for i in range(2)}
    return told


def single_row(
    judge: Judge,
    item: Item,
    games: tuple[Verdict, ...],
    question_id: Any,
    baseline: Candidate | None,
) -> dict[str, Any]:
    """Return FastChat's row of a grade; one that cannot be read is -1."""
    [verdict] = games
    score = _rating(item, verdict)
    return {
        "question_id": question_id,
        "model": item.model,
        "judge": [judge.name, item.prompt.name],
        "user_prompt": item.games[0][-1]["content"],
        "judgment": verdict.words,
        "score": UNPARSED if score is None else score,
        "turn": item.turn + 1,
        "judge_model": verdict.served_model,
        "prompt_version": item.prompt.version,
    }


def pair_row(
    judge: Judge,
    item: Item,
    games: tuple[Verdict, ...],
    question_id: Any,
    baseline: Candidate | None,
) -> dict[str, Any]:
    """Return FastChat's row of a pair: model_1 is side A of game 1 and side B of game 2."""
    first, second = (read_winner(v.words, v.finish_reason) for v in games)
    winners = {"A": ("model_1", "model_2"), "B": ("model_2", "model_1"), "C": (TIE, TIE)}
    return {
        "question_id": question_id,
        "model_1": item.model,
        "model_2": baseline.name if baseline else "",
        "g1_winner": winners[first][0] if first else ERROR,
        "g2_winner": winners[second][1] if second else ERROR,
        "judge": [judge.name, item.prompt.name],
        "g1_user_prompt": item.games[0][-1]["content"],
        "g1_judgment": games[0].words,
        "g2_user_prompt": item.games[1][-1]["content"],
        "g2_judgment": games[1].words,
        "turn": item.turn + 1,
        "judge_model": games[0].served_model,
        "prompt_version": item.prompt.version,
    }


def _rating(item: Item, verdict: Verdict) -> float | None:
    return read_rating(
        verdict.words, verdict.finish_reason, single_bracket=item.prompt.is_benchmarks
    )


def turns_of(row: files.Row) -> list[str]:
    """Return the turns of an answer in FastChat's layout."""
    try:
        turns = row.values["choices"][0]["turns"]
    except (KeyError, IndexError, TypeError):
        turns = None
    if not isinstance(turns, list) or not all(isinstance(t, str) for t in turns):
        row.fail("has no answer in choices[0].turns, as FastChat writes one")
    return list(turns)
