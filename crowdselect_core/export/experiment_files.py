"""The results of an experiment: its tables in OUT, and the manifest that names them, last."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.experiment.cells import TOKEN_MATCHED, Cell, Replicate
from crowdselect_core.experiment.choices import Choice
from crowdselect_core.experiment.comparisons import Comparisons, compare
from crowdselect_core.experiment.controls import LeftOut
from crowdselect_core.experiment.grid import Grid
from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.note_groups import grouped
from crowdselect_core.experiment.overlaps import overlaps
from crowdselect_core.experiment.piloting import Advised, advised
from crowdselect_core.experiment.pools import Pools
from crowdselect_core.experiment.primary import primary_of
from crowdselect_core.experiment.results import table
from crowdselect_core.experiment.schemas import (
    COMPARISONS_FILE,
    EXPERIMENT_FILE,
    OVERLAPS_FILE,
)
from crowdselect_core.experiment.settings import required, subsample_varies
from crowdselect_core.experiment.verdict import verdicts
from crowdselect_core.export.selection_files import REPORT
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.identity import canonical
from crowdselect_core.store.out_files import check_replaceable, owned_files, writing
from crowdselect_core.store.pending_files import size_and_sha256
from crowdselect_core.util.versions import version_of

MANIFEST = "manifest.json"
ADVICE_FILE, SENSITIVITY_FILE = "advice.parquet", "sensitivity.parquet"
FILES = [COMPARISONS_FILE, EXPERIMENT_FILE, OVERLAPS_FILE, MANIFEST]


def names_of(config: SelectConfig) -> list[str]:
    """Name the files that an experiment may write into OUT."""
    more = [ADVICE_FILE, SENSITIVITY_FILE] if required(config).advisor else []
    return [*FILES, *more, *([REPORT] if config.report is not False else [])]


@dataclass(frozen=True)
class Results:
    """What an experiment found.

    Args:
        cells: names, the grid's own first, then the controls.
        replicates: how many.
        table: schemas.EXPERIMENT.
        comparisons: of the trained cells.
        overlaps: schemas.OVERLAPS.
        verdicts: a line per comparison, the primary one first.
        notes: what a reader must know, such as values that are missing.
        left_out: controls that do not stand beside the methods.
        artifacts: by cell and replicate, the selection (or the batch that has it) and the model.
        advised: on the crowd, where the config asks for it.
    """

    cells: list[str]
    replicates: int
    table: pl.DataFrame
    comparisons: Comparisons
    overlaps: pl.DataFrame
    verdicts: list[str]
    notes: list[str]
    left_out: list[LeftOut]
    artifacts: dict[str, str]
    advised: Advised | None = None

    @property
    def all_notes(self) -> list[str]:
        """What a reader of text must know: of controls that were left out, then the notes."""
        return [*(one.note for one in self.left_out), *self.notes]


def results(
    config: SelectConfig, found: Grid, store: Store, instructions: Ref, made: Sequence[Made]
) -> Results:
    """Describe, overlap and compare the cells of an experiment.

    Args:
        config: resolved.
        found: its cells and replicates.
        store: where the artifacts are.
        instructions: all rows of the data set.
        made: every cell in every replicate.
    """
    by_place = {(one.cell, one.replicate): one for one in made}
    rows = instructions.open(store).frame(["instruction_id", "source_row"])
    pools, laid = Pools(store, rows), dict[int, list[Choice]]()
    cells = {r.number: list(_choosing(found, r, by_place)) for r in found.replicates}
    for number, own in cells.items():
        laid[number] = [pools.choice(cell, one) for cell, one in own]
    described = {
        number: pools.described(config, own, laid[number]) for number, own in cells.items()
    }
    choices = [choice for own in laid.values() for choice in own]
    every = [
        (cell, replicate, by_place[cell.name, replicate.number])
        for cell in found.cells
        for replicate in found.replicates
        if (cell.name, replicate.number) in by_place
    ]
    experiment, share = table(every, described), heldout_share(config)
    numbers = [replicate.number for replicate in found.replicates]
    compared = compare(
        experiment,
        primary_of(config),
        share,
        replicates=numbers,
        recipe_of=recipes(found.cells),
        matched=found.matched,
    )
    return Results(
        cells=[cell.name for cell in found.cells],
        replicates=len(numbers),
        table=experiment,
        comparisons=compared,
        overlaps=overlaps(choices, share),
        verdicts=verdicts(compared, subsampled=subsample_varies(config)),
        notes=[*_arm_notes(found), *compared.notes, *grouped(made)],
        left_out=found.left_out,
        artifacts=dict(_artifacts(made)),
        advised=_advised(config, found, store, by_place, rows.height),
    )


def _advised(
    config: SelectConfig,
    found: Grid,
    store: Store,
    by_place: dict[tuple[str, int], Made],
    rows: int,
) -> Advised | None:
    advisor = required(config).advisor
    if advisor is None:
        return None
    return advised(advisor, store, list(_choosing(found, found.replicates[0], by_place)), rows)


def heldout_share(config: SelectConfig) -> float | None:
    """Return the share that every replicate holds out anew; None where none does."""
    if config.heldout is None or required(config).replicate.split is False:
        return None
    return config.heldout.share


def recipes(cells: Sequence[Cell]) -> dict[str, str]:
    """Return by cell whatever of its training has no column of experiment.parquet."""
    left_out = {"base_model", "loss", "peft", "seed"}
    return {
        cell.name: canonical(
            cell.config.training.model_dump(mode="json", exclude=left_out)
        ).decode()
        for cell in cells
        if cell.trains and cell.config.training is not None
    }


def write(config: SelectConfig, told: Results) -> None:
    """Write the tables, and OUT/manifest.json.

    What an earlier experiment left beside them, and this one has not, is removed: its report shows
    other results.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds a file of such a name that is not a run's own.
    """
    place = open_backend(config.out)
    files = _tables(told)
    key = sha256(canonical(told.artifacts)).hexdigest()
    stated = {name: size_and_sha256(data) for name, data in files.items()}
    manifest = {
        "key": key,
        "artifacts": told.artifacts,
        "config": config.model_dump(mode="json"),
        "files": stated,
        "summary": {
            "cells": told.cells,
            "replicates": told.replicates,
            "verdicts": told.verdicts,
            "notes": told.notes,
            "left_out": [asdict(one) for one in told.left_out],
            "advice": told.advised.lines if told.advised else [],
        },
        "versions": {name: version_of(name) for name in ("crowdselect", "polars", "scikit-learn")},
    }
    check_replaceable(place, [*files, MANIFEST], config.out)
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False)
    gone = (owned_files(place) & {ADVICE_FILE, SENSITIVITY_FILE, REPORT}) - set(files)
    with writing(place, key, stated):
        place.replace_all(
            {**files, MANIFEST: text.encode("utf-8", "backslashreplace") + b"\n"},
            gone=sorted(gone),
        )


def _tables(told: Results) -> dict[str, bytes]:
    files = {
        EXPERIMENT_FILE: _parquet(told.table),
        COMPARISONS_FILE: _parquet(told.comparisons.table),
        OVERLAPS_FILE: _parquet(told.overlaps),
    }
    if told.advised is not None:
        files[ADVICE_FILE] = _parquet(told.advised.advice)
        files[SENSITIVITY_FILE] = _parquet(told.advised.sensitivity)
    return files


def _choosing(
    found: Grid, replicate: Replicate, by_place: dict[tuple[str, int], Made]
) -> Iterator[tuple[Cell, Made]]:
    for cell in found.choosing:
        made = by_place.get((cell.name, replicate.number))
        if made is not None:
            yield cell, made


def _arm_notes(found: Grid) -> Iterator[str]:
    """Yield what a reader must know of token-matched arms, where there are any."""
    if found.matched:
        yield (
            f"{TOKEN_MATCHED}: random rows, in each replicate so many that their answers have the "
            "tokens of those of the cell that is named, so their number is not the budget's; each "
            "is compared with that cell alone"
        )


def _artifacts(made: Sequence[Made]) -> Iterator[tuple[str, str]]:
    for one in made:
        chosen = ("choices", one.choices) if one.choices else ("selection", one.selection)
        for what, ref in (chosen, ("model", one.model)):
            if ref is not None:
                yield f"{one.cell}/{one.replicate}/{what}", f"{ref.stage}/{ref.key}"


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
