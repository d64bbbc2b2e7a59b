"""How many rows a budget asks for."""

from fractions import Fraction
from numbers import Integral

from crowdselect_core.errors import SelectionError
from crowdselect_core.util.text import plural


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


def check_budget(budget: int | float, rows: int) -> None:
    """Refuse a budget that could not be met if all rows were eligible.

    Args:
        budget: rows, or a share of the eligible rows.
        rows: how many there are.

    Raises:
        SelectionError: it asks for more rows, or for less than one.
    """
    if isinstance(budget, Integral) and budget > rows:
        there = plural(rows, "row")
        raise short_of(f"the budget is {budget} rows, but only {there} can be eligible", "that are")
    rows_of_budget(budget, rows)


def short_of(shortage: str, what: int | str) -> SelectionError:
    """Return the error of a budget above the eligible rows.

    Args:
        shortage: what is asked for, and what there is.
        what: which rows, or how many, could be taken instead.
    """
    return SelectionError(
        f"{shortage}: give a smaller --budget, or --allow-short to take all {what}"
    )
