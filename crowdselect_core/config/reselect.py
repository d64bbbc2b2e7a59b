"""What a reselection is told: what a selection is, and which earlier one it goes on from."""

from typing import Annotated, Literal

from pydantic import Field

from crowdselect_core.config.select import SelectConfig

Mode = Literal["frozen", "refit"]


class ReselectConfig(SelectConfig):
    """A selection that is made again when rows have arrived."""

    series: str = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Name of the series of selections, which has a pointer `latest` of its own",
        examples=["math-nightly"],
    )
    mode: Mode = Field(
        "frozen",
        description="frozen: the clusters, quantiles, z-scores and embedder of the base stay, new "
        "rows are measured by them; refit: all of them are fitted anew",
    )
    base: Literal["latest"] | Annotated[int, Field(ge=1)] = Field(
        "latest",
        description="The selection to go on from: latest, or its number in the series",
        examples=["latest", 3],
    )
    rollback_to: int | None = Field(
        None,
        ge=1,
        description="Make this selection the latest again, write it to OUT, and do nothing else",
        examples=[3],
    )
