"""Which folders of OUT are an evaluation's own: OUT/evaluation.json names them.

It is written before the first file and again at the end, with what the judges are and were found
to be. A folder that it does not name is never touched.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from crowdselect_core.errors import EvaluationError, shown
from crowdselect_core.evaluate.files import QUESTIONS
from crowdselect_core.evaluate.out_folder import ANSWERS, JUDGMENTS
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend

FILE = "evaluation.json"


def check_replaceable(out: str, folders: Sequence[str]) -> None:
    """Refuse folders of OUT that hold files and were not written by an evaluation.

    Raises:
        EvaluationError: names them; or evaluation.json is another program's.
        StorageError: OUT cannot be read.
    """
    place = open_backend(out)
    own = set(_own(place))
    if FILE in place.sizes("") and _told(place) is None:
        raise EvaluationError(
            f"{out}: holds an {FILE} that no evaluation of CrowdSelect wrote, so it is not "
            "replaced; name another --out, or move the file away"
        )
    foreign = [folder for folder in folders if folder not in own and place.walk(folder)]
    if foreign:
        raise EvaluationError(
            f"{out}: holds {shown(foreign)}, which no {FILE} of an earlier evaluation names, so "
            "nothing is written there; name another --out, or give the benchmark another name"
        )


def begin(out: str, folders: Sequence[str]) -> None:
    """Claim folders of OUT, and remove what an earlier evaluation left in them.

    Raises:
        EvaluationError: see `check_replaceable`.
    """
    check_replaceable(out, folders)
    place = open_backend(out)
    before = _own(place)
    _write(place, {"folders": sorted({*before, *folders})})
    for folder in before:
        for file in place.walk(folder):
            if _is_ours(file.name.removeprefix(f"{folder}/")):
                place.remove(file.name)
    _write(place, {"folders": sorted(folders)})


def end(out: str, folders: Sequence[str], told: Mapping[str, Any]) -> None:
    """Write OUT/evaluation.json whole."""
    _write(open_backend(out), {"folders": sorted(folders), **told})


def _own(place: StorageBackend) -> list[str]:
    names = _told(place) or []
    return [name for name in names if name and "/" not in name and not name.startswith(".")]


def _told(place: StorageBackend) -> list[str] | None:
    """Return the folders that evaluation.json names; None where it is absent or not ours."""
    try:
        told = json.loads(place.read(FILE))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    found = told.get("folders") if isinstance(told, dict) else None
    named = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if named else None


def _is_ours(name: str) -> bool:
    first, _, rest = name.partition("/")
    return name == QUESTIONS or (first in (ANSWERS, JUDGMENTS) and rest.endswith(".jsonl"))


def _write(place: StorageBackend, told: Mapping[str, Any]) -> None:
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    place.replace(FILE, text.encode("utf-8", "backslashreplace") + b"\n")
