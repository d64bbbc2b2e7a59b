"""What a held-out split and a subsample need to know: what is set aside, and what is left out."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import LocalPath
from crowdselect_core.config.flags import Flag

BEST = "best"


class HeldoutConfig(Frozen):
    """Instructions that are set aside before anything is fitted, for an evaluation."""

    share: Annotated[float | None, Flag("FRACTION")] = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the prompts that is held out, drawn by a hash of seed and prompt",
        examples=[0.1],
    )
    file: Annotated[LocalPath | None, Flag("FILE")] = Field(
        None,
        min_length=1,
        description="In place of share, a local file of what is held out: ids, one a line; a "
        "parquet file with the column instruction_id; or .jsonl with instruction_id, prompt or "
        "messages in each line",
        examples=["heldout.jsonl"],
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="Seed of the draw of share; when empty, the run's seed",
    )
    answers: Annotated[str | None, Flag("NAME")] = Field(
        None,
        min_length=1,
        description="Whose answers to the held-out prompts a loss is taken on: a crowd model, a "
        "text column of the data set, or best (of the highest score)",
        examples=["best"],
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.share is None) == (self.file is None):
            raise ValueError("heldout: expected exactly one of share and file")
        if self.seed is not None and self.file is not None:
            raise ValueError("heldout.seed draws a share, and file names the rows: leave one out")
        return self


class SubsampleConfig(Frozen):
    """A random part of the rows that everything is fitted on and chosen from."""

    share: float = Field(
        gt=0,
        le=1,
        description="Share of the prompts that stays, drawn by a hash of seed and prompt",
        examples=[0.8],
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="Seed of the draw; when empty, the run's seed",
    )
