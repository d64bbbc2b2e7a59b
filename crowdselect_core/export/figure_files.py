"""Writing OUT/figures: the figures of the selection, and figures.json, which names them, last."""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.names import TEMPORARY
from crowdselect_core.store.pending_files import listed, names_in, read_json, size_and_sha256

FOLDER = "figures"
MANIFEST = "figures.json"
PENDING = f"{TEMPORARY}figures"  # the names of the files that are being written

STAGE, VERSION = "figures", 1
INPUTS = ("scores", "metrics", "ranking", "clusters", "selection")

EXPERIMENT_FIGURES = ("differences", "results", "choices", "overlaps", "advice")
FIGURES = ("metrics", "clusters", "mean_scores", "win_rates", "kept_answers", "correlations")
NAMES = [f"{name}.{ending}" for name in FIGURES for ending in ("svg", "png")]
EXPERIMENT_NAMES = [f"{name}.{ending}" for name in EXPERIMENT_FIGURES for ending in ("svg", "png")]

_OURS = re.compile(r"[a-z_]+\.(?:svg|png)")  # only such names are ever replaced or removed


def spec(config: SelectConfig, inputs: SelectionArtifacts) -> Spec:
    """Name the figures: the artifacts that they show, and what is written on them."""
    identity: dict[str, Any] = {
        "crowd": [[m.name, m.family, m.size] for m in config.models],
        "reward_models": config.reward_names,
        "quota": config.quota,
    }
    keys = {name: ref.key for name, ref in inputs.refs().items() if name in INPUTS}
    return Spec(STAGE, VERSION, identity, keys)


def experiment_spec(drawn: Mapping[str, bytes]) -> Spec:
    """Name the figures of an experiment, by what is drawn."""
    hashes = {name: sha256(data).hexdigest() for name, data in drawn.items()}
    return Spec(STAGE, VERSION, {"experiment": hashes})


def find(out: str, wanted: Spec) -> list[str] | None:
    """Return the names of the figures in OUT if they are the wanted ones and undamaged."""
    place = open_backend(out)
    told = _told(place)
    if told.get("key") != wanted.key:
        return None
    for name, stated in told["files"].items():
        try:
            data = place.read(f"{FOLDER}/{name}")
        except FileNotFoundError:
            return None
        if sha256(data).hexdigest() != stated:
            return None
    place.remove(PENDING)  # of a run that was killed after its last file
    return sorted(f"{FOLDER}/{name}" for name in told["files"])


def write(out: str, wanted: Spec, files: Mapping[str, bytes]) -> list[str]:
    """Write the figures in the place of an earlier run's.

    Args:
        out: OUT as the user wrote it.
        wanted: what `spec` named.
        files: by their names in the folder.

    Returns:
        Their names in OUT.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: the folder has a file of such a name that is not ours.
    """
    place = open_backend(out)
    check_replaceable(out, files)
    owned = _owned(place)
    hashes = {name: sha256(data).hexdigest() for name, data in files.items()}
    told = json.dumps({"key": wanted.key, "files": hashes}, indent=1, sort_keys=True)
    stated = {f"{FOLDER}/{name}": size_and_sha256(data) for name, data in files.items()}
    before = [f"{FOLDER}/{name}" for name in owned]
    with listed(place, PENDING, before, wanted.key, f"{FOLDER}/{MANIFEST}", stated):
        place.replace_all(
            {f"{FOLDER}/{n}": d for n, d in {**files, MANIFEST: told.encode() + b"\n"}.items()},
            gone=sorted(set(before) - set(stated)),
        )
    return sorted(stated)


def remove(out: str) -> None:
    """Remove the figures of an earlier run: they would show another selection than OUT holds."""
    place = open_backend(out)
    owned = _owned(place)
    if not owned:
        return
    for name in (MANIFEST, *sorted(owned)):
        place.remove(f"{FOLDER}/{name}")
    place.remove(PENDING)
    place.prune(FOLDER)


def check_replaceable(out: str, names: Iterable[str] = NAMES) -> None:
    """Refuse to replace a figure that no figures.json of an earlier run names.

    Raises:
        ConfigError: the folder has a file of such a name that is not ours, or such a figures.json.
    """
    place = open_backend(out)
    present = set(place.sizes(FOLDER))
    foreign = (present & set(names)) - _owned(place)
    if MANIFEST in present and not _told(place):
        foreign.add(MANIFEST)
    if foreign:
        raise ConfigError(
            f"{out.rstrip('/')}/{FOLDER}: holds {shown(sorted(foreign))}, which no {MANIFEST} of "
            "an earlier run names, so it is not replaced; name another --out, or move it away"
        )


def _owned(place: StorageBackend) -> set[str]:
    """Return the names of the figures that runs have written."""
    names = set(_told(place).get("files", ()))
    names |= {name.removeprefix(f"{FOLDER}/") for name in names_in(place, PENDING)}
    return {name for name in names if _OURS.fullmatch(name)}


def _told(place: StorageBackend) -> dict[str, Any]:
    """Return what figures.json says, nothing where it is none of ours."""
    told = read_json(place, f"{FOLDER}/{MANIFEST}")
    ours = isinstance(told, dict) and isinstance(told.get("files"), dict) and "key" in told
    named = ours and all(_OURS.fullmatch(name) for name in told["files"])
    return told if named else {}
