"""Prompts of benchmarks: what training rows must not hold. Read from files of any usual layout.

.jsonl (one object a line), .json (the same, or one array of objects or texts), .parquet and .txt
(one prompt a line); of a folder the file that its
benchmark keeps its prompts in (FILES). Of an object the first of these counts: `turns` (texts, or
objects with `content`), `messages` or `conversations` (the user's turns), or a text under one of
TEXTS. Every turn is a prompt of its own. A line or row without any prompt is an error, not skipped.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from crowdselect_core.errors import ConfigError, DatasetError, StorageError, first_line, shown
from crowdselect_core.ingest.files import DataFile, opened, place_failed
from crowdselect_core.ingest.prompts import read_turns
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.identity import canonical
from crowdselect_core.urls import shown_path

# In a benchmark's folder: MT-Bench and Arena-Hard; IFEval.
FILES = ("question.jsonl", "questions.jsonl", "input_data.jsonl")
TEXTS = ("prompt", "instruction", "question", "input", "text", "problem", "query")
IDS = ("question_id", "uid", "key", "id", "instruction_id", "uuid", "task_id")


@dataclass(frozen=True)
class BenchmarkPrompt:
    """One prompt of a benchmark.

    Args:
        benchmark: the name of its file; of a benchmark's folder, the folder's.
        item: the id of its question, or its line or row, from 1; the turn, where there are several.
        text: the prompt.
    """

    benchmark: str
    item: str
    text: str


def read_benchmarks(paths: Sequence[str]) -> list[BenchmarkPrompt]:
    """Read the prompts of several files or folders, in order; see `read_benchmark`."""
    return [prompt for path in paths for prompt in read_benchmark(path)]


def read_benchmark(path: str) -> list[BenchmarkPrompt]:
    """Read the prompts of a file, or of a benchmark's folder.

    Args:
        path: local, or any fsspec URL.

    Raises:
        ConfigError: nothing is there, it is no file of prompts, or it holds none.
        StorageError: the place cannot be reached.
    """
    name, file = _found(path)
    where = shown_path(path)
    try:
        data = b"".join(file.blocks())
    except DatasetError as e:
        raise ConfigError(str(e)) from None
    rows = _lines(data, where) if file.path.endswith(".txt") else _rows(data, file.path, where)
    prompts = [
        BenchmarkPrompt(name, item, text) for place, row in rows for item, text in _of(row, place)
    ]
    if not prompts:
        raise ConfigError(f"{where}: holds no prompt; expected one a line or row")
    return prompts


def fingerprint(prompts: Sequence[BenchmarkPrompt]) -> str:
    """Hash what the prompts are and what they are called; where they lie does not count."""
    told = [[p.benchmark, p.item, p.text] for p in prompts]
    return sha256(canonical(told)).hexdigest()


def _found(path: str) -> tuple[str, DataFile]:
    """Return the name of a benchmark and the file of its prompts."""
    where = shown_path(path)
    fs, inner = opened(path, {})
    inner = inner.rstrip("/")
    own = inner.rpartition("/")[2]
    try:
        if fs.isdir(inner):
            found = next((f for f in FILES if fs.exists(f"{inner}/{f}")), None)
            if found is None:
                raise ConfigError(
                    f"{where}: is a folder without {shown(FILES)}; name the file of the prompts"
                )
            return own, DataFile(fs, f"{inner}/{found}", where, fs.info(f"{inner}/{found}"))
        return own, DataFile(fs, inner, where, fs.info(inner))
    except FileNotFoundError:
        raise ConfigError(
            f"{where}: no such file or folder; expected prompts (.jsonl, .parquet, .txt) or a "
            "benchmark's folder"
        ) from None
    except (ConfigError, StorageError):
        raise
    except Exception as e:
        raise place_failed(fs, path, e) from None


def _lines(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text file that are not blank, with their numbers."""
    for number, line in enumerate(_decoded(data, where).split("\n"), 1):
        if line.strip():
            yield str(number), line.strip()


def _rows(data: bytes, name: str, where: str) -> Iterator[tuple[str, str | Mapping[str, Any]]]:
    """Yield the objects of a .jsonl, .json or .parquet file, with their numbers."""
    if name.endswith(".parquet"):
        try:
            table = safe_parquet.decode(data)
        except safe_parquet.Unreadable as e:
            raise ConfigError(f"{where}: cannot be read as parquet: {first_line(e)}") from None
        yield from ((f"{where}: row {n}", r) for n, r in enumerate(table.iter_rows(named=True), 1))
        return
    text = _decoded(data, where)
    if text.lstrip().startswith("["):
        yield from _elements(text, where)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{where}: line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise ConfigError(
                f"{place}: is no JSON ({first_line(e, 80)}); expected one object a line, or name a "
                ".txt file with one prompt a line"
            ) from None
        if not isinstance(row, dict):
            raise ConfigError(f"{place}: expected a JSON object with a prompt")
        yield place, row


def _elements(text: str, where: str) -> Iterator[tuple[str, str | Mapping[str, Any]]]:
    """Yield the objects and texts of a JSON array, with their numbers."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ConfigError(
            f"{where}: is no whole JSON array ({first_line(e, 80)}); expected one array of "
            "objects, or one object a line"
        ) from None
    for number, element in enumerate(found, 1):
        if isinstance(element, str) and element.strip():
            yield str(number), element
        elif isinstance(element, dict):
            yield f"{where}: element {number}", element
        else:
            raise ConfigError(
                f"{where}: element {number}: expected a JSON object with a prompt, or a text"
            )


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as e:
        raise ConfigError(f"{where}: is not UTF-8 (byte {e.start}); convert it") from None


def _of(row: str | Mapping[str, Any], place: str) -> list[tuple[str, str]]:
    """Return the prompts of a row with the names of their items."""
    if isinstance(row, str):
        return [(place, row)]
    number = place.rsplit(" ", 1)[-1]
    item = next((str(row[k]) for k in IDS if isinstance(row.get(k), str | int)), number)
    texts = _turns(row, place)
    if not texts:
        keys = ("turns", "messages", "conversations", *TEXTS)
        raise ConfigError(
            f"{place}: has no prompt; expected a text under one of {shown(keys)}, found the keys "
            f"{shown(row, 10)}"
        )
    if len(texts) == 1:
        return [(item, texts[0])]
    return [(f"{item} turn {turn}", text) for turn, text in enumerate(texts, 1)]


def _turns(row: Mapping[str, Any], place: str) -> list[str]:
    turns = row.get("turns")
    if isinstance(turns, list):
        texts = [t.get("content") if isinstance(t, dict) else t for t in turns]
        return [t for t in texts if isinstance(t, str) and t.strip()]
    for key in ("messages", "conversations"):
        if isinstance(row.get(key), list):
            prompt = read_turns(row[key])
            if prompt.error is not None:
                raise ConfigError(f"{place}: {prompt.error}")
            return [m["content"] for m in prompt.messages if m["role"] == "user"]
    found = (row.get(key) for key in TEXTS)
    return next(([t] for t in found if isinstance(t, str) and t.strip()), [])
