"""Which layouts of the selection are written besides its own, and what a preference pair is."""

from typing import Annotated, Literal

from pydantic import Field

from crowdselect_core.config.base import Frozen

Export = Literal["sharegpt", "alpaca", "prompt-completion", "pairs", "llamafactory"]


class PairsConfig(Frozen):
    """Which answers form the preference pair of a selected row."""

    rejected: Literal["worst"] | Annotated[int, Field(ge=2)] = Field(
        "worst",
        description="The rejected answer: the one with the lowest score, or the one of this rank "
        "(2: the second best)",
    )
    min_margin: float = Field(
        0.0,
        ge=0,
        description="Least difference between the scores of the two answers; a row with less has "
        "no pair",
    )
