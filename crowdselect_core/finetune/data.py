"""What a training is trained on: conversations for SFT, preference pairs for the other losses."""

import polars as pl

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.pair_rows import PairRows, file_pairs, selected_pairs
from crowdselect_core.finetune.rows import ChatRows, file_rows, selected_rows


def rows_of(training: TrainingConfig, selected: pl.DataFrame | None) -> ChatRows | PairRows:
    """Return the rows of a training.

    Args:
        training: the recipe.
        selected: the selection, or its preference pairs where the loss trains on them; None:
            train_file is read.

    Raises:
        UserError: the file cannot be read or holds something else; the selection has no texts.
    """
    if selected is None:
        path = str(training.train_file)
        return file_pairs(path) if training.on_pairs else file_rows(path)
    return selected_pairs(selected) if training.on_pairs else selected_rows(selected)
