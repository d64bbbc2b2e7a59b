"""The files of a benchmark: where they lie, and their rows, one JSON object a line.

FastChat and Arena-Hard lay a benchmark out as `question.jsonl`, `model_answer/MODEL.jsonl` and
`model_judgment/`; the judgments may be named alone, too.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from crowdselect_core.errors import EvaluationError, first_line, shown
from crowdselect_core.ingest.files import DataFile, opened, place_failed

JUDGMENTS, QUESTIONS = "model_judgment", "question.jsonl"


@dataclass(frozen=True)
class Row:
    """One line of a file."""

    file: str
    number: int  # of the line, from 1
    values: dict[str, Any]

    @property
    def where(self) -> str:
        """The file and the line, as a message names them."""
        return f"{self.file}: line {self.number}"

    def fail(self, why: str) -> NoReturn:
        """Refuse the row.

        Raises:
            EvaluationError: always; it names the file and the line.
        """
        raise EvaluationError(f"{self.where}: {why}")

    def text(self, key: str) -> str:
        """Return a value that must be text."""
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            self.fail(f"key {key!r}: expected text, found {_shown(value)}")
        return value

    def id(self, key: str) -> str:
        """Return the id of a question: a whole number (MT-Bench) or text (Arena-Hard)."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            self.fail(f"key {key!r}: expected the id of a question, found {_shown(value)}")
        return str(value)

    def judge(self) -> str | None:
        """Return the judge that the row names: JUDGE or [JUDGE, PROMPT].

        Where it names none, it is the folder's in model_judgment/JUDGE/, or nobody (None).
        """
        value = self.values.get("judge")
        if value is None:
            folder = _above(self.file)
            return _name(folder) if _name(_above(folder)) == JUDGMENTS else None
        name = value[0] if isinstance(value, list) and value else value
        if not isinstance(name, str) or not name:
            self.fail(f"key 'judge': expected a name or [name, prompt], found {_shown(value)}")
        return name


@dataclass(frozen=True)
class Benchmark:
    """What lies behind a path.

    Args:
        files: of judgments, in name order.
        root: the folder that may hold `question.jsonl` and `model_answer/`.
        fs: its file system.
    """

    files: list[DataFile]
    root: str
    fs: Any

    def beside(self, *names: str) -> str | None:
        """Return the path of the first of some names that lies in the root."""
        paths = (f"{self.root}/{name}" for name in names)
        return next((path for path in paths if self.fs.exists(path)), None)


def find(path: str, fits: Callable[[str], bool], expected: str) -> Benchmark:
    """Return the judgment files behind a path: a file, a folder of them, or a benchmark's folder.

    Args:
        path: local, or any fsspec URL.
        fits: tells by its name whether a file of a folder holds judgments.
        expected: what such a folder holds, for the message.

    Raises:
        EvaluationError: nothing lies there, or no judgments.
        StorageError: the place cannot be reached.
    """
    fs, inner = opened(path, {})
    inner = inner.rstrip("/")
    try:
        if fs.isfile(inner):
            info = fs.info(inner)
            found, folder = {inner: info}, _above(inner)
        elif fs.isdir(inner):
            inside = f"{inner}/{JUDGMENTS}"
            folder = inside if fs.isdir(inside) else inner
            found = _files(fs, folder, fits)
        else:
            raise EvaluationError(f"{path}: no such file or folder; expected {expected}")
    except EvaluationError:
        raise
    except Exception as e:
        raise place_failed(fs, path, e) from None
    if not found:
        raise EvaluationError(f"{path}: holds no judgments; expected {expected}")
    files = [
        DataFile(fs, name, _as_given(path, inner, name), info)
        for name, info in sorted(found.items())
    ]
    return Benchmark(files, _root(folder), fs)


def rows(file: DataFile) -> Iterator[Row]:
    """Read the rows of a file; lines end at "\\n" alone, and empty ones are none.

    Raises:
        EvaluationError: a line is no JSON object.
    """
    lines = b"".join(file.blocks()).split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as e:
            cut = ", cut off" if number == len(lines) else ""
            raise EvaluationError(
                f"{file.shown}: line {number}: is no JSON{cut} ({first_line(e, 80)}); remove the "
                "line or write the file anew"
            ) from None
        if not isinstance(values, dict):
            raise EvaluationError(
                f"{file.shown}: line {number}: expected a JSON object, found {_shown(values)}"
            )
        yield Row(file.shown, number, values)


def categories(fs: Any, path: str, shown: str) -> dict[str, str]:
    """Return the category of every question of a question.jsonl.

    Raises:
        EvaluationError: it cannot be read, or a row has no id or no category.
    """
    try:
        file = DataFile(fs, path, shown, fs.info(path))
    except FileNotFoundError:
        raise EvaluationError(f"{shown}: no such file; expected a question.jsonl") from None
    except Exception as e:
        raise place_failed(fs, shown, e) from None
    found: dict[str, str] = {}
    for row in rows(file):
        key = "uid" if "uid" in row.values else "question_id"
        found[row.id(key)] = row.text("category")
    return found


def named_categories(path: str) -> dict[str, str]:
    """Return the categories of a question.jsonl that the user names; raises as `categories`."""
    fs, inner = opened(path, {})
    return categories(fs, inner, path)


def lacking(shown_file: str, what: str, found: Sequence[str]) -> EvaluationError:
    """Return the error of a file that lacks something, with what it has."""
    return EvaluationError(
        f"{shown_file}: has not {what}, found {shown(found, 8) or 'nothing'}; it is of another "
        "version"
    )


def folder_of(path: str) -> tuple[Any, str]:
    """Return the file system and the inner path of a benchmark's folder.

    Raises:
        EvaluationError: it is no folder.
        StorageError: the place cannot be reached.
    """
    fs, inner = opened(path, {})
    inner = inner.rstrip("/")
    try:
        if fs.isdir(inner):
            return fs, inner
    except Exception as e:
        raise place_failed(fs, path, e) from None
    raise EvaluationError(
        f"{path}: no such folder; expected the benchmark's folder with {QUESTIONS}, which you "
        "download yourself"
    )


def rows_at(fs: Any, path: str, shown_path: str) -> list[Row]:
    """Return the rows of a file of JSON Lines.

    Raises:
        EvaluationError: there is no such file, or a line is no JSON object.
    """
    try:
        file = DataFile(fs, path, shown_path, fs.info(path))
    except FileNotFoundError:
        raise EvaluationError(f"{shown_path}: no such file") from None
    except Exception as e:
        raise place_failed(fs, shown_path, e) from None
    return list(rows(file))


def _files(fs: Any, folder: str, fits: Callable[[str], bool]) -> dict[str, Any]:
    """Return the files of a folder that fit; where it has none, those of the folders in it."""
    entries = fs.ls(folder, detail=True)
    found = {e["name"]: e for e in entries if e["type"] == "file" and fits(_name(e["name"]))}
    if found:
        return found
    inner = [e["name"] for e in entries if e["type"] == "directory"]
    below = [e for name in inner for e in fs.ls(name, detail=True)]
    return {e["name"]: e for e in below if e["type"] == "file" and fits(_name(e["name"]))}


def _root(folder: str) -> str:
    """Return the benchmark's folder: above model_judgment, or where the judgments lie."""
    if _name(folder) == JUDGMENTS:
        return _above(folder)
    if _name(_above(folder)) == JUDGMENTS:
        return _above(_above(folder))
    return folder


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _as_given(path: str, inner: str, name: str) -> str:
    """Return a file's path as the user would write it."""
    return path if name == inner else path.rstrip("/") + name.removeprefix(inner)


def _shown(value: Any) -> str:
    """Return the start of a value as a message may repeat it."""
    text = repr(value)
    return "nothing" if value is None else text if len(text) <= 60 else f"{text[:57]}..."
