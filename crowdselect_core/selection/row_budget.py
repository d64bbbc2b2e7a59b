"""How many rows a budget asks for."""

from fractions import Fraction
from numbers import Integral

from crowdselect_core.errors import SelectionError


def rows_of_budget(budget: int | float, eligible: int) -> int:
    """Return the number of rows a budget asks for.

    A whole number is rows. A float in (0, 1] is a share of the eligible rows, rounded down; it is
    read as the decimal it prints as, so 0.29 of 100 is 29 (in binary it would be 28).

    Args:
        budget: rows, or a share.
        eligible: how many rows are eligible.

    Raises:
        SelectionError: anything else, or a share that is less than one row.
    """
    if isinstance(budget, Integral) and not isinstance(budget, bool) and budget >= 1:
        return int(budget)
    if isinstance(budget, float) and 0 < budget <= 1:
        rows = int(Fraction(str(float(budget))) * eligible)
        if rows == 0:
            raise SelectionError(
                f"a budget of {budget} of {eligible} eligible rows is less than one row: give a "
                "larger share or a number of rows"
            )
        return rows
    raise SelectionError(
        f"budget: found {budget!r}, expected a whole number of rows from 1, or a share of the "
        "eligible rows above 0 and up to 1.0, e.g. 0.05"
    )
