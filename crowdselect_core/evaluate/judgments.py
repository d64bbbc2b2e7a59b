"""What holds for the judgment files of every benchmark: one judge a file, nothing twice."""

from collections import Counter
from collections.abc import Hashable, Iterable

from crowdselect_core.evaluate.files import Row

WARN_SHARE = 0.05  # of a model's verdicts that cannot be read: beyond it a note says so
NAMED = 5  # questions that a note names


class Ledger:
    """Who judged what, in which file and line."""

    def __init__(self) -> None:
        self._judges: dict[str, tuple[str | None, int]] = {}  # by file; the line that named it
        self._rows: dict[Hashable, Row] = {}
        self._again: Counter[str] = Counter()  # by file

    def enter(self, row: Row, what: tuple[Hashable, ...]) -> str | None:
        """Note a row and return its judge.

        A judgment that stands twice in one file counts twice, as in the official scripts, and
        `notes` says so.

        Args:
            row: of a judgment file.
            what: names what was judged: model, question, turn.

        Raises:
            EvaluationError: another judge than in the file's rows before it, or another file has
                the same judgment.
        """
        judge = row.judge()
        first, line = self._judges.setdefault(row.file, (judge, row.number))
        if judge != first:
            row.fail(
                f"the judge is {judge!r}, in line {line} it is {first!r}; write a file for each "
                "judge, their verdicts do not mix"
            )
        before = self._rows.setdefault((judge, *what), row)
        if before is not row:
            if before.file != row.file:
                row.fail(f"the same judgment stands in {before.where}; leave one of the files out")
            self._again[row.file] += 1
        return judge

    def notes(self) -> list[str]:
        """Tell of judgments that stand twice."""
        return [
            f"{file}: {n:,} rows judge again what a row before them judges; all of them count, as "
            "in the official script"
            for file, n in sorted(self._again.items())
        ]


def unread(model: str, judge: str | None, n: int, unparsed: int) -> list[str]:
    """Warn of a model of whose verdicts too many cannot be read."""
    if unparsed <= WARN_SHARE * (n + unparsed):
        return []
    return [
        f"{model}: {unparsed:,} of {n + unparsed:,} verdicts of {judge or 'the judge'} cannot be "
        "read; the result stands on the others alone"
    ]


def missing(
    model: str, judge: str | None, judged: Iterable[str], every: Iterable[str]
) -> list[str]:
    """Name the questions of which a model has no judgment."""
    left = sorted(set(every) - set(judged), key=lambda q: (len(q), q))
    if not left:
        return []
    named = ", ".join(left[:NAMED]) + (", ..." if len(left) > NAMED else "")
    return [f"{model}: no judgment of {judge or 'the judge'} for {len(left):,} questions: {named}"]
