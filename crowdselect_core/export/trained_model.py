"""Writing a trained model to OUT: model/, training.parquet, and training.json last.

training.json names every file with its size and sha256; while files are written it is not there.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crowdselect_core.errors import ConfigError, DamagedArtifact, shown
from crowdselect_core.finetune.card import FILE as CARD
from crowdselect_core.finetune.card import current_card
from crowdselect_core.finetune.files import unpack
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.names import TEMPORARY
from crowdselect_core.store.pending_files import listed, names_in, read_json, size_and_sha256

FILE = "training.json"
CURVE = "training.parquet"
FOLDER = "model"
PENDING = f"{TEMPORARY}model"  # the names of the files that are being written

# Only these names count as a model's, whatever an old training.json or an artifact says.
_OURS = re.compile(r"training\.json|training\.parquet|model/[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def check_replaceable(out: str) -> None:
    """Refuse an OUT whose files of a model are not a run's own: nothing else is ever replaced.

    Raises:
        ConfigError: it holds training.json, training.parquet or files in model/ that no
            training.json of an earlier run names.
    """
    place = open_backend(out)
    foreign = sorted(set(_present(place)) - _owned(place))
    if foreign:
        raise ConfigError(
            f"{out}: holds {shown(foreign)}, which no {FILE} of an earlier run names, so the model "
            "is not written there; name another --out, or move the files away"
        )


def write(
    out: str, model: Artifact, licenses: Mapping[str, str | None] = MappingProxyType({})
) -> dict[str, Any]:
    """Write a trained model to OUT, unless it lies there already.

    Args:
        out: where to.
        model: the stored model.
        licenses: of the crowd models as the config has them now, for the model card.

    Returns:
        What training.json says, and whether it lay there (`cached`).

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds files of such names that are not a run's own.
        DamagedArtifact: the stored model is damaged.
    """
    place = open_backend(out)
    files = dict(model.manifest.facts.get("files", {}))
    if not all(_OURS.fullmatch(name) for name in files):
        raise DamagedArtifact(f"{model.manifest.folder} names a file that is none of a model's")
    told, card = current_card(model.manifest.facts["training"], licenses)
    if card is not None:
        files[CARD] = size_and_sha256(card.encode())
    told["files"] = files
    before = _read(place)
    if before == told and _is_there(place, files):
        return {**told, "cached": True}
    check_replaceable(out)
    rest = {name: stated for name, stated in files.items() if name != CARD}
    card_alone = card is not None and _lies_there(place, before, rest)
    with tempfile.TemporaryDirectory(prefix="crowdselect-model-") as folder:
        written = {} if card_alone else unpack(model, Path(folder))
        owned = _owned(place)
        with listed(place, PENDING, owned, told["key"], FILE, files):
            place.remove(FILE)
            for name in sorted(owned - {*files, FILE}):
                place.remove(name)
            for name in sorted(written):
                place.upload(name, Path(folder) / name)
            if card is not None:
                place.replace(CARD, card.encode())
            text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
            place.replace(FILE, text.encode("utf-8", "backslashreplace") + b"\n")
    return {**told, "cached": False}


def _lies_there(place: StorageBackend, before: dict[str, Any], files: dict[str, Any]) -> bool:
    """Tell whether these files lie in OUT, and training.json named no others but a card."""
    named = {n: stated for n, stated in before.get("files", {}).items() if n != CARD}
    return named == files and _is_there(place, files)


def _owned(place: StorageBackend) -> set[str]:
    """Return the names of the files in OUT that runs have written."""
    told = _read(place)
    names = {FILE, *told["files"]} if told else set()
    names |= set(names_in(place, PENDING))
    return {name for name in names if _OURS.fullmatch(name)}


def _present(place: StorageBackend) -> dict[str, int]:
    """Return the sizes of the files in OUT that are, or look like, a model's."""
    top = {name: size for name, size in place.sizes("").items() if name in (FILE, CURVE)}
    return top | {f"{FOLDER}/{n}": size for n, size in place.sizes(FOLDER).items()}


def _read(place: StorageBackend) -> dict[str, Any]:
    """Return training.json, nothing where it is none of ours."""
    found = read_json(place, FILE)
    ours = isinstance(found, dict) and {"key", "recipe", "files"} <= found.keys()
    return found if ours and isinstance(found["files"], dict) else {}


def _is_there(place: StorageBackend, files: dict[str, Any]) -> bool:
    """Say whether every file lies in OUT with its size; the weights are not read again."""
    sizes = _present(place)
    return all(sizes.get(name) == stated["bytes"] for name, stated in files.items())
