"""What can be said of a held-out split beforehand, and what is refused of it afterwards."""

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.chat import Message
from crowdselect_core.config.heldout import BEST
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, SelectionError, nearest, shown
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.quality.sketches import rensa
from crowdselect_core.stages.heldout.listed import read_heldout
from crowdselect_core.stages.heldout.split import check_prompts, is_drawn, is_listed, split_seed
from crowdselect_core.stages.heldout.subsample import staying_prompts
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref, Split

ROWS = 10_000  # that are read at once


def check(config: SelectConfig, missing: MissingWork) -> None:
    """Refuse a key `heldout` that nothing could come of.

    Raises:
        ConfigError: the list cannot be read; rensa is not installed; answers of a model or column
            that does not exist.
        DatasetError: the data set cannot be read.
    """
    heldout = config.heldout
    if heldout is None:
        return
    rensa()
    if heldout.file is not None:
        read_heldout(heldout.file)
    wanted = heldout.answers
    names = [m.name for m in config.everyone]
    if wanted in (None, BEST, *names):
        return
    columns = open_dataset(config.model_copy(update={"crowd": [], "reward_models": []})).columns()
    if wanted not in columns:
        raise ConfigError(
            f"heldout.answers {wanted!r}: expected best, a crowd model ({shown(names, 10)}) or a "
            f"text column of {config.dataset.path} ({shown(columns, 10)})"
            f"{nearest(str(wanted), [*names, *columns, BEST])}"
        )


def check_best(config: SelectConfig, missing: MissingWork) -> None:
    """Refuse the best answers of a live crowd where no selection scores the rows that remain.

    Raises:
        ConfigError: several reward models would have to be compared.
    """
    best = config.heldout is not None and config.heldout.answers == BEST
    if best and missing and len(config.reward_names) > 1:
        raise ConfigError(
            "heldout.answers best: several reward models are compared by their z-scores over the "
            "rows that remain, and without a selection nobody scores these; name one reward "
            "model, or a crowd model in heldout.answers"
        )


def check_drawn(config: SelectConfig, instructions: Ref, heldout: Ref) -> None:
    """Refuse a split without a held-out row.

    Raises:
        SelectionError: there is none.
    """
    if heldout.is_computed:
        _check_any(config, heldout.rows, instructions.rows)


def _check_any(config: SelectConfig, heldout: int, rows: int) -> None:
    if heldout or config.heldout is None:
        return
    of = f"none of the {rows:,} rows of {config.dataset.path}"
    if config.heldout.file is not None:
        raise SelectionError(
            f"heldout.file {config.heldout.file}: {of} is in the list; correct its ids or prompts"
        )
    raise SelectionError(
        f"heldout.share {config.heldout.share}: {of} is held out; raise the share, or use more rows"
    )


def prompts_alone(config: SelectConfig) -> SelectConfig:
    """Return the config of the held-out prompts alone: whoever answers them is of no concern."""
    heldout = config.heldout and config.heldout.model_copy(update={"answers": None})
    return config.model_copy(update={"crowd": [], "reward_models": [], "heldout": heldout})


def check_rest(config: SelectConfig, split: Split) -> None:
    """Refuse a split that leaves no row.

    Raises:
        SelectionError: all rows are held out or resemble one that is.
    """
    heldout, duplicates = split.heldout, split.duplicates
    if not split.rows.is_computed or split.rows.rows:
        return
    if config.subsample is not None:
        raise SelectionError(
            f"subsample.share {config.subsample.share}: no row of {config.dataset.path} remains; "
            "raise it, or use more rows"
        )
    if heldout is None or duplicates is None:
        return
    raise SelectionError(
        f"heldout: no row of {config.dataset.path} remains, {heldout.rows:,} are held out and "
        f"{duplicates.rows:,} are near-duplicates of one; lower the share, or shorten the list"
    )


def heldout_rows(config: SelectConfig, dataset: Dataset) -> NDArray[np.bool_] | None:
    """Tell, for every row of the data set, whether it is held out; None where nothing is.

    Near-duplicates of held-out rows are not told. Reads the prompts.
    """
    if config.heldout is None:
        return None
    check_prompts(dataset)
    share, file = config.heldout.share, config.heldout.file
    listed = read_heldout(file) if file is not None else None
    parts = dataset.partitions(ROWS)
    found = np.zeros(sum(part.rows for part in parts), dtype=bool)
    for part in parts:
        ids = [i for rows in dataset.rows(part) for i in rows.ids] if listed else []
        for first, prompts in dataset.prompts(part):
            if listed is not None:
                start = first - part.first_row
                drawn = is_listed(listed, ids[start : start + len(prompts)], prompts)
            else:
                drawn = is_drawn(prompts, share or 0.0, split_seed(config))
            found[first : first + len(prompts)] = drawn
    return found


def left_out_rows(
    config: SelectConfig, dataset: Dataset, *, heldout: bool = False
) -> NDArray[np.bool_] | None:
    """Tell, for every row, whether it is held out or not subsampled; None where all remain.

    Near-duplicates of held-out rows are not told. Reads the prompts.

    Args:
        config: of the data set.
        dataset: an open data set.
        heldout: whether the held-out rows are those that remain, and all others are left out.
    """
    found = heldout_rows(config, dataset)
    if heldout:
        return None if found is None else ~found
    if config.subsample is None:
        return found
    parts = dataset.partitions(ROWS)
    out = np.zeros(sum(part.rows for part in parts), dtype=bool) if found is None else found
    for part in parts:
        for first, prompts in dataset.prompts(part):
            out[first : first + len(prompts)] |= ~staying_prompts(config, prompts)
    return out


def heldout_prompts(config: SelectConfig) -> list[tuple[Message, ...]]:
    """Return the prompts that are held out, in the order of the data set.

    Args:
        config: whose data set has all columns that it names; see `without_missing`.

    Raises:
        SelectionError: there is none.
    """
    dataset = open_dataset(config)
    found_N = heldout_rows(config, dataset)
    if found_N is None:
        return []
    _check_any(config, int(found_N.sum()), len(found_N))
    return [
        prompt.messages
        for part in dataset.partitions(ROWS)
        for first, prompts in dataset.prompts(part)
        for row, prompt in enumerate(prompts, first)
        if found_N[row] and prompt.error is None
    ]


def line(config: SelectConfig, dataset: Dataset) -> list[str]:
    """Say how many rows are held out; nothing without the key `heldout`.

    Raises:
        SelectionError: none is.
    """
    found = heldout_rows(config, dataset)
    if found is None:
        return []
    _check_any(config, int(found.sum()), len(found))
    return [
        f"held out   {int(found.sum()):,} rows; near-duplicates of them leave as well, which the "
        "run counts"
    ]
