"""Writing a selection to OUT: the files first, and the manifest that names them last.

While files are written there is no manifest, so a killed export is never taken for a whole one.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import llamafactory, training_formats
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.out_files import (
    DATASET_INFO,
    PENDING,
    QUALITY,
    check_replaceable,
    entries_of,
    is_manifest,
    writing,
)
from crowdselect_core.store.pending_files import sha256_of, size_and_sha256
from crowdselect_core.util.versions import version_of

MANIFEST = "manifest.json"
RANKING = "ranking.parquet"
REPORT = "report.html"  # written after the others, by report/page


STAGE, VERSION = "export", 2


def spec(config: SelectConfig, inputs: SelectionArtifacts) -> Spec:
    """Name the export: its artifacts and the layouts asked for."""
    keys = {name: ref.key for name, ref in inputs.refs().items()}
    identity: dict[str, Any] = {"export": sorted(config.export)}
    if training := recipe_of(config):
        identity["recipe"] = llamafactory.recipe(training)
    return Spec(STAGE, VERSION, identity, keys)


def find(config: SelectConfig, wanted: Spec) -> dict[str, Any] | None:
    """Return OUT's manifest if it is this export's and every file has the bytes it tells of."""
    place = open_backend(config.out)
    found = read_manifest(place)
    if found is None or found.get("key") != wanted.key:
        return None
    sizes = place.sizes("")
    for name, told in found["files"].items():
        size = sizes.get(name)
        if not isinstance(told, dict) or name not in OURS or size is None:
            return None
        if size != told.get("bytes") or sha256_of(place, name, size) != told.get("sha256"):
            return None
    place.remove(PENDING)  # of a run that was killed after its last file
    return found


def read_manifest(place: StorageBackend) -> dict[str, Any] | None:
    """Return the manifest of an earlier export, None where there is none that can be read."""
    try:
        found = json.loads(place.read(MANIFEST))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return found if is_manifest(found) else None


def write(
    config: SelectConfig,
    store: Store,
    inputs: SelectionArtifacts,
    wanted: Spec,
    rows: ExplainedRows,
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Write selection.parquet, ranking.parquet, train.jsonl, what else is asked for, the manifest.

    Args:
        config: the resolved config; OUT and the layouts asked for.
        store: where the artifacts are.
        inputs: the artifacts of the run.
        wanted: what `spec` named.
        rows: every row of the run, as the ranking has it.
        summary: what the manifest tells of the run.

    Returns:
        The manifest.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds a file of such a name that is not ours.
    """
    place = open_backend(config.out)
    selection = inputs.selection.open(store).frame()
    files: dict[str, bytes] = {"selection.parquet": _parquet(selection)}
    if selection["messages"].null_count() == 0:
        files["train.jsonl"] = training_formats.chat(selection)
        for layout in (name for name in training_formats.LAYOUTS if name in config.export):
            files[file_of(layout)] = training_formats.LAYOUTS[layout](selection)
    if inputs.pairs is not None:
        files["pairs.jsonl"] = training_formats.preference_pairs(inputs.pairs.open(store).frame())
    if inputs.membership is not None:
        files["membership.parquet"] = _parquet(inputs.membership.open(store).frame())
    if inputs.drift is not None:
        drift = inputs.drift.open(store).frame().to_dicts()
        files["drift.json"] = json.dumps(drift, indent=1).encode() + b"\n"
    if training := recipe_of(config):
        files[llamafactory.FILE] = llamafactory.train_yaml(training)
    if summary.get("quality"):
        files[QUALITY] = as_json(summary["quality"])
    if config.export:
        others = entries_of(place) or {}
        files[DATASET_INFO] = training_formats.dataset_info(files, others)
    with TemporaryDirectory(prefix="crowdselect-") as folder:
        table = Path(folder) / RANKING
        rows.write(table)
        every: dict[str, bytes | Path] = {"selection.parquet": files.pop("selection.parquet")}
        every |= {RANKING: table, **files}
        manifest = _manifest(config, inputs, wanted, every, summary)
        check_replaceable(place, [*every, MANIFEST], config.out)
        with writing(place, wanted.key, manifest["files"]):
            _replace_all(place, every, manifest)
    return manifest


def _manifest(
    config: SelectConfig,
    inputs: SelectionArtifacts,
    wanted: Spec,
    files: Mapping[str, bytes | Path],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what OUT/manifest.json says."""
    return {
        "key": wanted.key,
        "artifacts": {name: f"{r.stage}/{r.key}" for name, r in inputs.refs().items()},
        "config": config.model_dump(mode="json"),
        "files": {name: size_and_sha256(data) for name, data in files.items()},
        "summary": dict(summary),
        "versions": {name: version_of(name) for name in ("crowdselect", "polars", "scikit-learn")},
    }


def recipe_of(config: SelectConfig) -> TrainingConfig | None:
    """Return the recipe that is written for LLaMA-Factory, None where none is asked for."""
    return config.training if "llamafactory" in config.export else None


def ranking_table(config: SelectConfig, store: Store, inputs: SelectionArtifacts) -> pl.DataFrame:
    """Return every row as OUT/ranking.parquet has it; memory: all of it."""
    return ExplainedRows(config, store, inputs).table()


def file_of(layout: str) -> str:
    """Name the file of an export layout."""
    return f"{layout.replace('-', '_')}.jsonl"


def names_of(config: SelectConfig, *, reselected: bool = False) -> list[str]:
    """Name the files that a selection, or a reselection, may write into OUT."""
    layouts = [file_of(layout) for layout in config.export if layout != "llamafactory"]
    layouts += [llamafactory.FILE] if recipe_of(config) else []
    if config.wants_pairs and "pairs" not in config.export:
        layouts.append(file_of("pairs"))
    usual = ["selection.parquet", "ranking.parquet", "train.jsonl", MANIFEST]
    usual += ["membership.parquet", "drift.json"] if reselected else []
    usual += [QUALITY] if config.quality else []
    usual += [REPORT] if config.report is not False else []
    if config.quality and config.quality.only:
        return [QUALITY]
    return [*usual, *layouts, *([DATASET_INFO] if layouts else [])]


def _replace_all(
    place: StorageBackend, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]
) -> None:
    """Remove what is no longer ours, write the files with the manifest as their mark."""
    before = read_manifest(place)
    gone = set(before["files"] if before else ()) & OURS - set(files)
    others = training_formats.without_ours(entries_of(place) or {})
    if DATASET_INFO in gone and others:  # other tools' entries stay
        place.replace(DATASET_INFO, training_formats.dataset_info({}, others))
        gone.remove(DATASET_INFO)
    place.replace_all({**files, MANIFEST: encoded(manifest)}, gone=sorted(gone))


def encoded(manifest: Mapping[str, Any]) -> bytes:
    """Return the manifest as its file holds it."""
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


# An old manifest is only trusted to name these: nothing else in OUT is ever removed.
OURS = {
    "selection.parquet",
    "ranking.parquet",
    "train.jsonl",
    "sharegpt.jsonl",
    "alpaca.jsonl",
    "prompt_completion.jsonl",
    "pairs.jsonl",
    "dataset_info.json",
    "membership.parquet",
    "drift.json",
    llamafactory.FILE,
    QUALITY,
    REPORT,
}


def write_gates(config: SelectConfig, told: Mapping[str, Any]) -> None:
    """Write OUT/quality.json alone: what the quality gates found.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds a file of that name that is not ours.
    """
    place = open_backend(config.out)
    check_replaceable(place, [QUALITY], config.out)
    with writing(place, told["key"], {}, mark=QUALITY):
        place.replace(QUALITY, as_json(told))


def as_json(told: Mapping[str, Any]) -> bytes:
    """Return what a JSON file holds, whatever texts are in it."""
    text = json.dumps(told, indent=1, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
