"""What a reselection needs to know: what a selection does, and which earlier one it continues."""

from typing import Annotated, Literal

from pydantic import Field

from crowdselect_core.config.flags import Flag
from crowdselect_core.config.select import SelectConfig

Mode = Literal["frozen", "refit"]
Base = Literal["latest"] | Annotated[int, Field(ge=1)]


class ReselectConfig(SelectConfig):
    """A selection that is made again when rows have arrived."""

    series: Annotated[str, Flag("NAME")] = Field(
        "default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="Name of a series of selections, each of which continues the last: a to z, "
        "digits and hyphens, at most 63",
        examples=["math-nightly"],
    )
    mode: Annotated[Mode, Flag("MODE")] = Field(
        "frozen",
        description="frozen: new rows are measured by the clusters, quantiles, z-scores and "
        "embedder of the base; refit: all of these are fitted again on all rows",
    )
    base: Annotated[Base, Flag("N")] = Field(
        "latest",
        description="The selection to continue: latest, or its number in the series",
        examples=["latest", 3],
    )
    rollback_to: Annotated[int | None, Flag("N")] = Field(
        None,
        ge=1,
        description="Number of the selection to write to OUT again and to make the latest; the run "
        "does nothing else",
        examples=[3],
    )
