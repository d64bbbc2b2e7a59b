"""The folder of a benchmark in OUT: answers and judgments in the benchmark's own formats.

`flows.evaluate --judgments OUT/<benchmark>` computes the same results from it.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from crowdselect_core.store.backend.open import open_backend

ANSWERS, JUDGMENTS = "model_answer", "model_judgment"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class OutFolder:
    """Writes the files of one benchmark.

    Args:
        out: OUT, local or a URL.
        name: of the benchmark, the folder in it.
    """

    def __init__(self, out: str, name: str) -> None:
        self._place, self._name = open_backend(out), name
        self.root = f"{out.rstrip('/')}/{name}"
        self.files: list[str] = []  # written, relative to OUT

    def write(self, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
        """Write rows as JSON Lines, in the place of an earlier file; return where it lies.

        Raises:
            StorageError: OUT cannot be written.
        """
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        data = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        self._place.replace(f"{self._name}/{name}", data)
        self.files.append(f"{self._name}/{name}")
        return f"{self.root}/{name}"


def file_name(model: str) -> str:
    """Return the name of a model as a file's: what no file's name may hold becomes '-'.

    It begins with a letter or a digit: files of other names are no judgments to whoever reads them.
    A name that is changed gets 8 hexadecimal digits, so that no two models share a file.
    """
    if _PLAIN.fullmatch(model):
        return model
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:80] or "model"
    return f"{plain}-{hashlib.sha256(model.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def answer_id(*parts: str) -> str:
    """Return an id of an answer, the same for the same texts."""
    told = json.dumps(parts, ensure_ascii=True).encode()
    return hashlib.sha256(told).hexdigest()[:22]
