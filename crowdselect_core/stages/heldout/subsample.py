"""The subsample: the random part of the rows that everything is fitted on and chosen from.

A row stays by a hash of (seed, prompt), as held-out rows are drawn, so the same prompt is in or out
in every data set; of a data set without prompts by a hash of (seed, id).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.prompts import Prompt, prompt_key
from crowdselect_core.stages.crowd.prompts import prompts_of
from crowdselect_core.util.hashed_random import uniform

PURPOSE = "subsample"  # of the random draw


def subsample_identity(config: SelectConfig) -> dict[str, Any]:
    """Return what of the config changes the subsample; nothing where none is drawn."""
    if config.subsample is None:
        return {}
    return {"subsample": {"share": config.subsample.share, "seed": subsample_seed(config)}}


def subsample_seed(config: SelectConfig) -> int:
    """Return the seed of the draw: the subsample's own, or the run's."""
    own = config.subsample.seed if config.subsample is not None else None
    return config.seed if own is None else own


def subsampled(config: SelectConfig, dataset: Dataset, rows: pl.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows stay.

    Args:
        config: with the key `subsample`; without, all stay.
        dataset: an open data set.
        rows: instruction_id and source_row, in the order of the data set.
    """
    if dataset.layout.prompt is None:
        return staying(config, rows["instruction_id"].to_list())
    keys = [prompt_key(prompt.messages).hex() for _, prompt in prompts_of(dataset, rows)]
    return staying(config, keys)


def staying_prompts(config: SelectConfig, prompts: Sequence[Prompt]) -> NDArray[np.bool_]:
    """Tell which prompts stay; see `subsampled`."""
    return staying(config, [prompt_key(prompt.messages).hex() for prompt in prompts])


def staying(config: SelectConfig, keys: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which keys stay: hash(seed, key) is below the share, as uniform in [0, 1)."""
    if config.subsample is None:
        return np.ones(len(keys), dtype=bool)
    return uniform(keys, subsample_seed(config), PURPOSE) < config.subsample.share
