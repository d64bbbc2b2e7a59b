"""The grid of an experiment, checked before anything is computed."""

import math

from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.heldout import BEST
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding.kmeans import check_clusters
from crowdselect_core.errors import ConfigError, SelectionError
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.failures import with_keys
from crowdselect_core.experiment.grid import Grid, grid
from crowdselect_core.experiment.piloting import check_prices
from crowdselect_core.experiment.primary import check_primary
from crowdselect_core.experiment.settings import required
from crowdselect_core.finetune import preflight as training_preflight
from crowdselect_core.planning import heldout, preflight
from crowdselect_core.planning.data_check import rows_of
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.stages.partitions import open_dataset


def experiment_grid(config: SelectConfig) -> Grid:
    """Return the cells of an experiment, each checked as its own flow would check it.

    Args:
        config: resolved.

    Raises:
        UserError: what a cell's flow would refuse before its first stage, a held-out split that
            replicates cannot vary, or answers to the held-out rows that no cell can have.
    """
    _check_split(config)
    _check_heldout(config)
    dataset = open_dataset(without_missing(config, find_missing(config)))
    rows, has_texts = rows_of(dataset), dataset.layout.instruction is not None
    found = grid(config, round(rows * pool_share(config)))
    check_primary(config, found.cells)
    check_prices(config)
    for cell in found.choosing:
        _check_budget(cell, rows, pool_share(config))
        if preflight.has_vectors(cell.config, has_texts):
            _check_clusters(cell, rows)
    for cell in found.choosing:
        preflight.check(cell.config, trains=cell.trains)
    trainings = {repr(c.config.training): c.config.training for c in found.cells if c.trains}
    for training in trainings.values():
        if training is not None:
            training_preflight.check(training, elsewhere=spreads(config))
    return found


def _check_budget(cell: Cell, rows: int, share: float) -> None:
    """Refuse more rows than a replicate chooses from, before the first cell is trained.

    How many a replicate has is drawn: five standard deviations more than expected are let through.
    """
    config, expected = cell.config, rows * share
    most = min(rows, expected + 5 * math.sqrt(expected * (1 - share)))
    if isinstance(config.budget, float) or config.budget_tokens is not None or config.allow_short:
        return
    if cell.control is None and config.budget > most:
        raise ConfigError(
            f"experiment: {cell.name} is to choose {config.budget:,} rows, and a replicate chooses "
            f"from about {round(expected):,} of {rows:,}: lower experiment.budgets, raise "
            "experiment.replicate.subsample, or set allow_short"
        )


def _check_clusters(cell: Cell, rows: int) -> None:
    """Refuse more clusters than rows, before anything is embedded."""
    try:
        with with_keys():
            check_clusters(cell.config.clusters, rows)
    except SelectionError as e:
        raise ConfigError(f"experiment: {cell.name}: {e}") from None


def pool_share(config: SelectConfig) -> float:
    """Return the share of the rows that a choice is made from, near-duplicates aside."""
    left, subsample = 1.0, required(config).replicate.subsample
    if config.heldout is not None and config.heldout.share is not None:
        left -= config.heldout.share
    if subsample is None and config.subsample is not None:
        subsample = config.subsample.share
    return left * (subsample or 1.0)


def _check_split(config: SelectConfig) -> None:
    experiment, split = required(config), required(config).replicate.split
    if config.heldout is None:
        if split:
            raise ConfigError(
                "experiment.replicate.split: true has each replicate draw its own held-out rows, "
                "and without the key heldout none are held out: add 'heldout: {share: 0.33}', or "
                "leave split out"
            )
        return
    if config.heldout.file is not None and split is not False and len(experiment.seeds) > 1:
        raise ConfigError(
            "experiment.replicate.split: each replicate draws its own held-out rows, and "
            "heldout.file names them; use heldout.share, or set split: false"
        )


def _check_heldout(config: SelectConfig) -> None:
    """Refuse a key `heldout` before the crowd is asked, of whose answers all cells are made."""
    missing, experiment = find_missing(config), required(config)
    heldout.check(config, missing)
    wanted = config.heldout.answers if config.heldout is not None else None
    known = (None, BEST, *(m.name for m in config.everyone))
    if experiment.train and missing and wanted not in known:
        raise ConfigError(
            f"heldout.answers {wanted!r}: is a column of {config.dataset.path}, and the cells "
            "choose from the crowd's answers, which are generated first and have no such column: "
            "name a crowd model, or best"
        )
