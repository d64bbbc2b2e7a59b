"""Pairs in FastChat's layout as a win rate from 0 to 1 against one baseline, ties half.

A game counts 1 where the model wins, 0.5 for a tie, 0 where it loses; a question counts the mean
of its two games. A question of which a game cannot be read is missing: one game alone would keep
the bias of its order.
"""

from collections.abc import Mapping
from typing import Any

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files
from crowdselect_core.evaluate.files import Benchmark, Row
from crowdselect_core.evaluate.judgments import Ledger, missing, unread
from crowdselect_core.evaluate.tally import Outcome, Part, Tally, as_results, by_category

METRIC = "win_rate"
SHARES = {"model_1": 1.0, "tie": 0.5, "model_2": 0.0}  # of model_1
EXPECTED = "*_pair.jsonl with model_1, model_2, g1_winner and g2_winner"


def find(path: str) -> Benchmark:
    """Return the judgment files of a file, a folder of them, or a benchmark's folder."""
    return files.find(path, lambda name: name.endswith("_pair.jsonl"), EXPECTED)


def categories(fs: Any, path: str | None) -> dict[str, str]:
    """Return the categories of those questions of a question.jsonl that have one."""
    if path is None:
        return {}
    rows = files.rows_at(fs, path, path)
    return {
        row.id("question_id"): row.text("category")
        for row in rows
        if row.values.get("category") is not None
    }


def evaluate(
    found: Benchmark, category_of: Mapping[str, str], baseline: str | None = None, seed: int = 0
) -> Outcome:
    """Compute the win rate of every model against the baseline.

    Args:
        found: the judgment files.
        category_of: of the questions that have one.
        baseline: the model that all are compared with; None: model_2 of the rows.
        seed: of the bootstrap.

    Raises:
        EvaluationError: a row that is none of a pair, of another baseline, or of a second judge.
    """
    ledger = Ledger()
    verdicts: dict[str | None, list[Part]] = {}
    for file in found.files:
        for row in files.rows(file):
            first, second = row.text("model_1"), row.text("model_2")
            baseline = baseline or second
            if second != baseline or first == baseline:
                row.fail(f"compares {first!r} with {second!r}, not with the baseline {baseline!r}; "
                         "name another --baseline")  # fmt: skip
            question = row.id("question_id")
            judge = ledger.enter(row, (first, question))
            verdicts.setdefault(judge, []).append(_part(row, first, question))
    if not verdicts:
        raise EvaluationError(f"{found.files[0].shown}: has no rows; expected {EXPECTED}")
    outcome = Outcome([], ledger.notes())
    for judge, parts in verdicts.items():
        for category, some in by_category(parts, dict(category_of)):
            tally = Tally.of(some)
            outcome.results.extend(
                as_results(tally, METRIC, category, judge, tally.value_M, tally.bounds(seed))
            )
        outcome.notes.extend(_gaps(parts, judge))
    return outcome


def _part(row: Row, model: str, question: str) -> Part:
    games = [row.values.get("g1_winner"), row.values.get("g2_winner")]
    shares = [SHARES.get(game) if isinstance(game, str) else None for game in games]
    read = [share for share in shares if share is not None]
    if len(read) < len(shares):
        return Part(model, question, 0.0, 0.0, 0, len(shares) - len(read))
    return Part(model, question, sum(read) / len(read), 1.0, len(read))


def _gaps(parts: list[Part], judge: str | None) -> list[str]:
    tally = Tally.of(parts)
    notes: list[str] = []
    for i, model in enumerate(tally.models):
        judged = {p.question for p in parts if p.model == model}
        notes += missing(model, judge, judged, tally.questions)
        notes += unread(model, judge, tally.n[i], tally.unparsed[i])
    return notes
