"""From the losses of a row to its IFD, and why a row may not be chosen by it; needs no torch."""

import math

import polars as pl

from crowdselect_core.config.method_models import IfdConfig

TOO_LONG = "ifd_too_long"  # reasons of rows that the published codes drop
NO_TOKEN = "ifd_no_token"  # noqa: S105 - a reason
ONE_TOKEN = "ifd_one_token"  # noqa: S105
ABOVE = "ifd_above_1"
NOT_BELOW = "ifd_not_below_1"
UNDEFINED = "ifd_undefined"

DIGITS = 7  # of a loss, so many that count: batches move a loss by about 1e-6 in float32

CELL = {"loss_given": pl.Float64, "loss_alone": pl.Float64, "tokens": pl.Int64}


def ifd(variant: str, given: float | None, alone: float | None) -> float | None:
    """Return the ratio of two losses, or of their perplexities; None where it is undefined.

    Args:
        variant: cherry: given / alone; superfiltering: exp(given - alone).
        given: mean loss of the answer given the instruction, nats per token.
        alone: mean loss of the answer alone.
    """
    if given is None or alone is None:
        return None
    if variant == "superfiltering":
        return math.exp(min(given - alone, 700.0))
    return given / alone if alone > 0 else None


def ifd_values(config: IfdConfig, cells: pl.DataFrame) -> pl.DataFrame:
    """Return the IFD of every row, and why the published code drops it.

    Input columns: loss_given, loss_alone, error. Output columns: ifd (> 0, null where undefined),
    lacks (a reason; the number stays beside it).
    """
    pairs = cells.select("loss_given", "loss_alone").iter_rows()
    number = pl.Series("ifd", [ifd(config.variant, *pair) for pair in pairs], dtype=pl.Float64)
    above = number > 1 if config.variant == "cherry" else number >= 1
    return pl.select(
        number,
        lacks=pl.coalesce(
            cells["error"].str.split(":").list.first(),
            pl.when(above).then(pl.lit(ABOVE if config.variant == "cherry" else NOT_BELOW)),
            pl.when(number.is_null()).then(pl.lit(UNDEFINED)),
        ),
    )
