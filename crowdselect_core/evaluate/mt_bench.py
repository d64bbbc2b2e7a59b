"""MT-Bench from FastChat's judgment files, as its show_result.py (0e6d3e4) computes it.

Single grading: the mean of the scores of turn 1, of turn 2, and of all rows of both turns; a score
of -1 is missing. Pairwise: a row is a win where both games agree, and a tie where game 1 is a tie
or the games differ; win_rate_adjusted = (wins + ties / 2) / rows. A row with an `error` in either
game is missing.
"""

import math
from typing import Any

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files
from crowdselect_core.evaluate.files import Benchmark, Row
from crowdselect_core.evaluate.judgments import Ledger, missing, unread
from crowdselect_core.evaluate.tally import Outcome, Part, Tally, as_results, by_category

EXPECTED = "*_single.jsonl or *_pair.jsonl, as FastChat writes them"
SINGLE, PAIR = "average", "win_rate_adjusted"  # the metric that has every row of a kind
MISSING = -1  # the score that FastChat writes where it read none
GAMES = ("model_1", "model_2", "tie")

Verdicts = dict[tuple[str | None, str], list[Part]]  # by judge and metric


def find(path: str) -> Benchmark:
    """Return the judgment files of a file, a folder of them, or a benchmark's folder."""
    return files.find(path, lambda n: n.endswith(("_single.jsonl", "_pair.jsonl")), EXPECTED)


def evaluate(
    found: Benchmark,
    category_of: dict[str, str],
    baseline: str | None = None,
    official: bool = False,
    seed: int = 0,
) -> Outcome:
    """Compute turn_1, turn_2, average, win_rate, loss_rate and win_rate_adjusted.

    Args:
        found: the judgment files.
        category_of: of every question of the benchmark; empty where that is not known.
        baseline: count the pairs with this model alone, and leave its own line out.
        official: no intervals, since FastChat gives none.
        seed: of the bootstrap.

    Raises:
        EvaluationError: a row that is not as FastChat writes it, of another version, or of a
            second judge; no pair with the baseline.
    """
    verdicts, notes = _read(found, category_of, baseline)
    if baseline and not any(metric == PAIR for _, metric in verdicts):
        raise EvaluationError(f"no judged pair has the baseline {baseline!r}; leave --baseline out")
    if not verdicts:
        raise EvaluationError(f"{found.files[0].shown}: has no rows; expected {EXPECTED}")
    outcome = Outcome([], notes)
    for (judge, metric), parts in verdicts.items():
        for category, some in by_category(parts, category_of):
            tally = Tally.of(some)
            bounds = None if official else tally.bounds(seed)
            outcome.results.extend(
                as_results(tally, metric, category, judge, tally.value_M, bounds)
            )
        if metric in (SINGLE, PAIR):
            notes += _gaps(parts, judge, category_of)
    return outcome


def _read(
    found: Benchmark, category_of: dict[str, str], baseline: str | None
) -> tuple[Verdicts, list[str]]:
    """Read every row of every file; the notes tell of judgments that stand twice."""
    ledger, verdicts = Ledger(), Verdicts()
    for file in found.files:
        kind = None
        for row in files.rows(file):
            kind = _kind_of(row, kind)
            question = row.id("question_id")
            if category_of and question not in category_of:
                row.fail(
                    f"question {question} is not among the {len(category_of)} of {files.QUESTIONS}:"
                    " judgments of another version of MT-Bench"
                )
            if kind == SINGLE:
                _add_score(row, ledger, verdicts)
            else:
                _add_pair(row, ledger, verdicts, baseline)
    return verdicts, ledger.notes()


def _kind_of(row: Row, before: str | None) -> str:
    """Tell single grading from pairs; all rows of a file are of one kind."""
    kind = SINGLE if "score" in row.values else PAIR if "g1_winner" in row.values else None
    if kind is None and "games" in row.values:
        row.fail("is a judgment of Arena-Hard; pass --benchmark arena-hard")
    if kind is None:
        row.fail("has neither 'score' (single grading) nor 'g1_winner' (pairs); expected a row of "
                 f"{EXPECTED}")  # fmt: skip
    if before not in (None, kind):
        row.fail("single grading and pairs stand in one file; write a file for each")
    return kind


def _add_score(row: Row, ledger: Ledger, verdicts: Verdicts) -> None:
    model, question, turn = row.text("model"), row.id("question_id"), _turn(row)
    judge = ledger.enter(row, (SINGLE, model, question, turn))
    score = row.values["score"]
    part = Part(model, question, float(score)) if _is_score(score) else _missing(model, question)
    for metric in (f"turn_{turn}", SINGLE):
        verdicts.setdefault((judge, metric), []).append(part)


def _add_pair(row: Row, ledger: Ledger, verdicts: Verdicts, baseline: str | None) -> None:
    models = row.text("model_1"), row.text("model_2")
    question = row.id("question_id")
    judge = ledger.enter(row, (PAIR, *models, question, _turn(row)))
    if baseline is not None and baseline not in models:
        return
    games = row.values["g1_winner"], row.values.get("g2_winner")
    readable = all(isinstance(game, str) and game in GAMES for game in games)
    agree = games[0] if games[0] == games[1] else "tie"
    for name, model in zip(GAMES, models, strict=False):
        if model == baseline:
            continue
        won, lost = float(agree == name), float(agree not in (name, "tie"))
        shares = {"win_rate": won, "loss_rate": lost, PAIR: (1 + won - lost) / 2}
        for metric, share in shares.items():
            part = Part(model, question, share) if readable else _missing(model, question)
            verdicts.setdefault((judge, metric), []).append(part)


def _missing(model: str, question: str) -> Part:
    return Part(model, question, 0.0, weight=0.0, read=0, unparsed=1)


def _is_score(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value != MISSING


def _turn(row: Row) -> int:
    turn = row.values.get("turn")
    if type(turn) is not int or turn not in (1, 2):
        row.fail(f"key 'turn': expected 1 or 2, found {str(turn)[:60]}")
    return turn


def _gaps(parts: list[Part], judge: str | None, category_of: dict[str, str]) -> list[str]:
    """Name questions without a judgment, and models many of whose verdicts cannot be read."""
    tally = Tally.of(parts)
    every = category_of or tally.questions
    notes: list[str] = []
    for i, model in enumerate(tally.models):
        judged = {p.question for p in parts if p.model == model}
        notes += missing(model, judge, judged, every)
        notes += unread(model, judge, tally.n[i], tally.unparsed[i])
    return notes
