"""The rows of Arena-Hard's judgment files, v0.1 and v2, read into games.

Every question is judged twice: in game 1 answer A is the baseline's, in game 2 the model's. A
label with `>>` weighs three battles.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files
from crowdselect_core.evaluate.files import Benchmark, Row
from crowdselect_core.evaluate.judgments import Ledger

Version = Literal["v0.1", "v2"]
EXPECTED = "MODEL.jsonl files, or model_judgment/JUDGE/MODEL.jsonl, as Arena-Hard writes them"
ID_KEYS: dict[Version, str] = {"v0.1": "question_id", "v2": "uid"}
BASELINE = "gpt-4-0314"  # of v0.1
BASELINES = {  # of v2, by category
    "hard_prompt": "o3-mini-2025-01-31",
    "coding": "o3-mini-2025-01-31",
    "math": "o3-mini-2025-01-31",
    "creative_writing": "gemini-2.0-flash-001",
    "arena-hard-v0.1": BASELINE,
}
HEAVY = 3  # battles that a label with >> stands for

# A's share of the win, and the battles that the label stands for.
LABELS: dict[str, tuple[float, int]] = {
    "A>>B": (1.0, HEAVY), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, HEAVY),
}  # fmt: skip
MIRRORED = {  # v2 alone reads these as well
    "B<<A": LABELS["A>>B"], "B<A": LABELS["A>B"], "B=A": LABELS["A=B"],
    "A<B": LABELS["B>A"], "A<<B": LABELS["B>>A"],
}  # fmt: skip


class Game(NamedTuple):
    """One verdict on one question."""

    judge: str | None
    baseline: str
    category: str | None
    model: str
    question: str
    share: float  # of the win that is the model's: 0, 0.5 or 1
    weight: int  # battles that it stands for; 0 where there is nothing to count
    read: int
    unparsed: int


class Games(NamedTuple):
    """All games of some files, in the order of the files' names and of their rows."""

    version: Version
    games: list[Game]
    notes: list[str]


def find(path: str) -> Benchmark:
    """Return the judgment files of a file, a folder of them, or a benchmark's folder."""

    def fits(name: str) -> bool:
        hidden = name.startswith((".", "_"))
        return name.endswith(".jsonl") and name != files.QUESTIONS and not hidden

    return files.find(path, fits, EXPECTED)


def read(found: Benchmark, category_of: Mapping[str, str], baseline: str | None) -> Games:
    """Read the games of all files.

    Args:
        found: the judgment files.
        category_of: of every question of the benchmark, for v0.1; empty where that is not known.
        baseline: the model that all others are compared with; None: v2's rows or the benchmark
            say which.

    Raises:
        EvaluationError: a row that is not as Arena-Hard writes it, of another version, of a second
            judge, or against another baseline.
    """
    reader = _Reader(category_of, baseline)
    games = [game for file in found.files for row in files.rows(file) for game in reader.read(row)]
    if reader.version is None:
        raise EvaluationError(f"{found.files[0].shown}: has no rows; expected {EXPECTED}")
    return Games(reader.version, games, reader.notes())


class _Reader:
    """Reads row after row, and holds each against those before it."""

    def __init__(self, category_of: Mapping[str, str], baseline: str | None) -> None:
        self.version: Version | None = None
        self._category_of, self._baseline = category_of, baseline
        self._ledger = Ledger()
        self._baselines: dict[tuple[str | None, str | None], tuple[str, str]] = {}
        self._left_out: dict[str, str] = {}  # models, and why

    def notes(self) -> list[str]:
        """Tell of judgments that stand twice, and of models that are left out."""
        return [
            *self._ledger.notes(),
            *(f"{m}: {why}" for m, why in sorted(self._left_out.items())),
        ]

    def read(self, row: Row) -> Iterator[Game]:
        """Yield the games of a row."""
        version = self._version_of(row)
        model, question = row.text("model"), row.id(ID_KEYS[version])
        category = self._category(row, version, question)
        judge = self._ledger.enter(row, (model, question))
        baseline = self._baseline_of(row, version, judge, category)
        if model == baseline:
            self._left_out[model] = "is the baseline; what it got against itself is not counted"
            return
        if version == "v2" and model == judge:
            self._left_out[model] = "is the judge itself; left out, as in the official script"
            return
        labels = LABELS if version == "v0.1" else LABELS | MIRRORED
        found = [labels.get(label) for label in _labels(row)]
        if version == "v2" and None in found:  # one game alone would keep the bias of its order
            unparsed = found.count(None)
            yield Game(judge, baseline, category, model, question, 0.0, 0, 0, unparsed)
            return
        for place, verdict in enumerate(found):
            if verdict is None:
                yield Game(judge, baseline, category, model, question, 0.0, 0, 0, 1)
                continue
            share, weight = verdict
            own = share if place else 1.0 - share
            yield Game(judge, baseline, category, model, question, own, weight, 1, 0)

    def _version_of(self, row: Row) -> Version:
        if "games" not in row.values:
            hint = "; pass --benchmark mt-bench" if {"score", "g1_winner"} & set(row.values) else ""
            row.fail(f"has no 'games': is no judgment of Arena-Hard{hint}")
        version: Version = "v2" if "uid" in row.values else "v0.1"
        if self.version not in (None, version):
            row.fail(f"is a row of {version} among rows of {self.version}; evaluate them apart")
        self.version = version
        return version

    def _category(self, row: Row, version: Version, question: str) -> str | None:
        if version == "v2":
            return row.text("category")
        if self._category_of and question not in self._category_of:
            row.fail(
                f"question {question} is not among the {len(self._category_of)} of "
                f"{files.QUESTIONS}: judgments of another version of Arena-Hard"
            )
        return self._category_of.get(question)

    def _baseline_of(
        self, row: Row, version: Version, judge: str | None, category: str | None
    ) -> str:
        """Return the baseline of a row; all rows of a judge and a category have the same one."""
        if version == "v0.1":
            return self._baseline or BASELINE
        named = row.text("baseline") if row.values.get("baseline") is not None else None
        if named and self._baseline and named != self._baseline:
            row.fail(f"was judged against {named!r}, not against --baseline {self._baseline!r}")
        baseline = named or self._baseline or BASELINES.get(category or "")
        if baseline is None:
            row.fail(f"names no baseline, and category {category!r} has none; pass --baseline")
        first, where = self._baselines.setdefault((judge, category), (baseline, row.where))
        if baseline != first:
            row.fail(f"was judged against {baseline!r}, and {where} against {first!r}; evaluate "
                     "them apart")  # fmt: skip
        return baseline


def _labels(row: Row) -> list[str]:
    """Return the labels of both games; what is missing or no text is '', which is no label."""
    games: Any = row.values["games"]
    if games is None:
        games = []
    if not isinstance(games, list) or len(games) > 2:
        row.fail(f"key 'games': expected a list of two games, found {str(games)[:60]}")
    scores = [game.get("score") if isinstance(game, dict) else None for game in games]
    scores += [None] * (2 - len(scores))
    return [score if isinstance(score, str) else "" for score in scores]
