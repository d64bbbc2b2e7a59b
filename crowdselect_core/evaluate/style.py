"""How long the answers of Arena-Hard are and how much Markdown they have.

The counts are those of the official answer files, which Arena-Hard's own script adds to them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import files
from crowdselect_core.evaluate.arena_rows import Game
from crowdselect_core.evaluate.files import Benchmark, Row
from crowdselect_core.ingest.files import DataFile, opened, place_failed
from crowdselect_core.store import safe_parquet

# Beside the judgments, in this order: tables of counts, and the folder of the answers themselves.
NAMES = ("style_metadata.parquet", "conv_metadata.parquet", "model_answer")
FEATURES = ("token_len", "header_count", "list_count", "bold_count")
_COLUMNS = {
    "token_len": ["token_len"],
    "header_count": [f"h{level}" for level in range(1, 7)],
    "list_count": ["ordered", "unordered"],
    "bold_count": ["bold_star", "bold_under"],
}

Counts = tuple[float, ...]  # one number for each of FEATURES


@dataclass(frozen=True)
class Style:
    """The counts of answers, by model and question.

    Args:
        counts: of each answer.
        shown: the place they were read from.
        is_named: whether the user named the place, so that what it lacks is an error.
    """

    counts: Mapping[tuple[str, str], Counts]
    shown: str
    is_named: bool


def find(benchmark: Benchmark, named: str | None) -> Style | None:
    """Read the counts from the place that the user names, or beside the judgments.

    Returns:
        None where there are none.

    Raises:
        EvaluationError: the place is missing, or holds something else.
    """
    if named is not None:
        fs, path = opened(named, {})
        return _read(fs, path.rstrip("/"), named, is_named=True)
    beside = benchmark.beside(*NAMES)
    return None if beside is None else _read(benchmark.fs, beside, beside, is_named=False)


def missing_counts(style: Style, games: Iterable[Game]) -> str | None:
    """Say which answer has no counts, of those that were compared.

    Raises:
        EvaluationError: there is one, and the user named the place.
    """
    for game in games:
        for model in (game.model, game.baseline):
            if (model, game.question) not in style.counts:
                why = (
                    f"{style.shown} has no token and Markdown counts of {model!r} for question "
                    f"{game.question}"
                )
                if style.is_named:
                    raise EvaluationError(why)
                return why
    return None


def _read(fs: Any, path: str, shown: str, *, is_named: bool) -> Style:
    try:
        if fs.isdir(path):
            counts = dict(_of_answers(fs, path, shown))
        else:
            counts = dict(_of_table(DataFile(fs, path, shown, fs.info(path))))
    except EvaluationError:
        raise
    except FileNotFoundError:
        raise EvaluationError(f"{shown}: no such file or folder; expected a table of token and "
                              "Markdown counts, or a folder model_answer/") from None  # fmt: skip
    except Exception as e:
        raise place_failed(fs, shown, e) from None
    return Style(counts, shown, is_named)


def _of_table(file: DataFile) -> Iterator[tuple[tuple[str, str], Counts]]:
    """Read a parquet table of model, question_id and the counts, one answer a row."""
    columns = ["model", "question_id", *(name for names in _COLUMNS.values() for name in names)]
    try:
        frame = safe_parquet.decode(b"".join(file.blocks()), columns)
    except safe_parquet.Unreadable as e:
        raise EvaluationError(
            f"{file.shown}: {e}; expected a parquet table of the columns {', '.join(columns)}"
        ) from None
    for row in frame.iter_rows(named=True):
        try:
            counts = tuple(float(sum(row[c] for c in names)) for names in _COLUMNS.values())
        except TypeError:
            raise EvaluationError(
                f"{file.shown}: a count of {row['model']!r} for question {row['question_id']!r} is "
                "missing or no number"
            ) from None
        yield (str(row["model"]), str(row["question_id"])), counts


def _of_answers(fs: Any, folder: str, shown: str) -> Iterator[tuple[tuple[str, str], Counts]]:
    """Read answer files: v0.1's `conv_metadata`, v2's `metadata`; answers without are left out."""
    for entry in sorted(fs.ls(folder, detail=True), key=lambda e: str(e["name"])):
        name = entry["name"].rpartition("/")[2]
        if entry["type"] != "file" or not name.endswith(".jsonl"):
            continue
        for row in files.rows(DataFile(fs, entry["name"], f"{shown}/{name}", entry)):
            found = row.values.get("conv_metadata") or row.values.get("metadata")
            if not found:
                continue
            model = row.text("model" if "model" in row.values else "model_id")
            question = row.id("uid" if "uid" in row.values else "question_id")
            yield (model, question), _counts(row, found)


def _counts(row: Row, found: Any) -> Counts:
    """Return the counts of an answer; headers, lists and bold stand as {kind: count}."""
    counts = []
    for name in FEATURES:
        value = found.get(name) if isinstance(found, dict) else None
        parts: list[Any] = list(value.values()) if isinstance(value, dict) else [value]
        if not all(type(part) in (int, float) and part >= 0 for part in parts):
            row.fail(f"metadata: {name!r}: expected a count or counts, found {str(value)[:60]}")
        counts.append(float(sum(parts)))
    return tuple(counts)
