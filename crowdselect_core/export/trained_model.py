"""Writing a trained model to OUT: model/, training.parquet, and training.json last.

training.json names every file with its size and sha256; while files are written it is not there.
"""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.finetune.files import unpack
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend

FILE = "training.json"
CURVE = "training.parquet"

# An old training.json is only trusted to name these: nothing else in OUT is ever removed.
_OURS = re.compile(r"training\.parquet|model/[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def write(out: str, model: Artifact) -> dict[str, Any]:
    """Write a trained model to OUT, unless it lies there already.

    Returns:
        What training.json says, and whether it lay there (`cached`).

    Raises:
        StorageError: OUT cannot be written.
        DamagedArtifact: the stored model is damaged.
    """
    place = open_backend(out)
    files = model.manifest.facts.get("files", {})
    if not all(_OURS.fullmatch(name) for name in files):
        raise DamagedArtifact(f"{model.manifest.folder} names a file that is none of a model's")
    told = {**model.manifest.facts["training"], "files": files}
    before = _read(place)
    if before == told and _is_there(place, told["files"]):
        return {**told, "cached": True}
    with tempfile.TemporaryDirectory(prefix="crowdselect-model-") as folder:
        written = unpack(model, Path(folder))
        place.remove(FILE)
        for name in sorted(set(before.get("files", {})) - set(written)):
            if _OURS.fullmatch(name):
                place.remove(name)
        for name in sorted(written):
            place.upload(name, Path(folder) / name)
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    place.replace(FILE, text.encode("utf-8", "backslashreplace") + b"\n")
    return {**told, "cached": False}


def _read(place: StorageBackend) -> dict[str, Any]:
    try:
        found = json.loads(place.read(FILE))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), dict) else {}


def _is_there(place: StorageBackend, files: dict[str, Any]) -> bool:
    """Say whether every file lies in OUT with its size; the weights are not read again."""
    sizes = place.sizes("") | {f"model/{n}": size for n, size in place.sizes("model").items()}
    return all(sizes.get(name) == stated["bytes"] for name, stated in files.items())
