"""OUT/report.html of an experiment: read from the tables in OUT, and named in their manifest."""

from hashlib import sha256
from typing import Any

import polars as pl

from crowdselect_core.errors import ReportError, StorageError
from crowdselect_core.experiment.advisor import ADVICE
from crowdselect_core.experiment.schemas import (
    COMPARISONS,
    COMPARISONS_FILE,
    EXPERIMENT,
    EXPERIMENT_FILE,
    OVERLAPS,
    OVERLAPS_FILE,
)
from crowdselect_core.experiment.sensitivity import SENSITIVITY
from crowdselect_core.export.experiment_files import ADVICE_FILE, MANIFEST, SENSITIVITY_FILE
from crowdselect_core.export.selection_files import REPORT, encoded, read_manifest
from crowdselect_core.report.experiment_page.data import ExperimentData
from crowdselect_core.report.experiment_page.page import page
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.out_files import check_replaceable, writing
from crowdselect_core.store.pending_files import size_and_sha256
from crowdselect_core.tables import Columns
from crowdselect_core.urls import shown_path

TABLES = {EXPERIMENT_FILE: EXPERIMENT, COMPARISONS_FILE: COMPARISONS, OVERLAPS_FILE: OVERLAPS}
ADVISED = {ADVICE_FILE: ADVICE, SENSITIVITY_FILE: SENSITIVITY}


def is_experiment(out: str) -> bool:
    """Tell whether OUT has the results of an experiment."""
    manifest = read_manifest(open_backend(out))
    return manifest is not None and EXPERIMENT_FILE in manifest["files"]


def read(out: str) -> tuple[ExperimentData, dict[str, Any]]:
    """Read the results of an experiment, and OUT's manifest.

    Raises:
        StorageError: there are none, or a table is missing, damaged, or not the manifest's.
    """
    place = open_backend(out)
    manifest = read_manifest(place)
    if manifest is None or EXPERIMENT_FILE not in manifest["files"]:
        raise StorageError(
            f"{shown_path(out)}: there is no manifest.json of an experiment, which a report is "
            f"made from; run flows.experiment with --out {shown_path(out)}"
        )
    advised = {name: schema for name, schema in ADVISED.items() if name in manifest["files"]}
    tables = {
        name: _table(place, out, name, schema, manifest["files"].get(name))
        for name, schema in {**TABLES, **advised}.items()
    }
    config = manifest.get("config")
    data = ExperimentData(
        config if isinstance(config, dict) else {},
        manifest["summary"],
        tables[EXPERIMENT_FILE],
        tables[COMPARISONS_FILE],
        tables[OVERLAPS_FILE],
        tables.get(ADVICE_FILE),
        tables.get(SENSITIVITY_FILE),
    )
    return data, manifest


def write(out: str) -> int:
    """Write OUT/report.html from the results in OUT, and its entry into OUT/manifest.json.

    Returns:
        Its bytes.

    Raises:
        ReportError: the page cannot be made, or another run has written to OUT meanwhile.
        StorageError: OUT has no whole results, or cannot be written.
        ConfigError: it holds a report.html that is not ours.
    """
    found, manifest = read(out)
    try:
        html = page(found)
    except ReportError:
        raise
    except Exception as e:
        raise ReportError(
            f"{REPORT} could not be made ({type(e).__name__}: {e}); the tables are in "
            f"{shown_path(out)}, and 'python -m flows.report --out {shown_path(out)}' tries again"
        ) from e
    place = open_backend(out)
    if read_manifest(place) != manifest:
        raise ReportError(
            f"{shown_path(out)}: another run has written here meanwhile; "
            f"'python -m flows.report --out {shown_path(out)}' makes the page of its results"
        )
    check_replaceable(place, [REPORT], out)
    manifest["files"][REPORT] = size_and_sha256(html)
    with writing(place, manifest["key"], {REPORT: manifest["files"][REPORT]}):
        place.replace_all({REPORT: html, MANIFEST: encoded(manifest)})
    return len(html)


def _table(
    place: StorageBackend, out: str, name: str, schema: Columns, stated: Any
) -> pl.DataFrame:
    where = f"{shown_path(out)}/{name}"
    try:
        data = place.read(name)
    except FileNotFoundError:
        raise StorageError(f"{where} is missing: run flows.experiment again") from None
    if not isinstance(stated, dict) or stated.get("sha256") != sha256(data).hexdigest():
        raise StorageError(
            f"{where} is not the file that {MANIFEST} names: run flows.experiment again"
        )
    try:
        return safe_parquet.decode(data, schema=schema)
    except safe_parquet.Unreadable as e:
        raise StorageError(f"{where} {e}: run flows.experiment again") from None
