"""The templates of the page: everything that is put into them is escaped."""

import math
from functools import cache
from typing import Any

from markupsafe import Markup

from crowdselect_core.report.page.texts import in_one_line, visible

CELL = 200  # characters of a data text in a cell of a table
LINE = 1000  # of a line that stands alone


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("crowdselect_core.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        f.__name__: f for f in (number, percent, decimals, figure, cell, line, visible)
    }
    return made


def filled(template: str, **values: Any) -> str:
    """Fill a template of `templates/`; a name that it lacks is an error."""
    text: str = _environment().get_template(template).render(**values)
    return text


def safe(html: str) -> Markup:
    """Mark HTML that `filled` made as not to be escaped again."""
    return Markup(html)  # noqa: S704 - made by a template that escapes


def number(value: float | int | None) -> str:
    """Write a whole number with separators, an en dash for none."""
    return "–" if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Write a share as a percentage."""
    return "–" if value is None else f"{value:.{digits}%}".replace("%", " %")


def decimals(value: float | None, digits: int = 2) -> str:
    """Write a number with decimals, an en dash for none."""
    return "–" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00


def figure(value: float | None, digits: int = 4) -> str:
    """Write a number of any size with some significant digits, an en dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == round(value) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"


def cell(text: str | None) -> str:
    """Return the beginning of a data text on one line."""
    return in_one_line(text, CELL)


def line(text: str | None) -> str:
    """Return a data text on one line, at most LINE characters of it."""
    return in_one_line(text, LINE)
