"""Places in static figures: scales, ticks, scatter plots. All figures are SVG in the page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 560, 340  # of a scatter plot, in its own units
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 44  # its margins
BAR = 220  # width of a figure in a table's cell


@dataclass(frozen=True)
class Scale:
    """A linear scale from values to places between start and end."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return the place of a value."""
        span = (self.high - self.low) or 1.0
        place = self.start + (value - self.low) / span * (self.end - self.start)
        return round(place, 1)


def scale(
    values: Iterable[float | None], start: float, end: float, *, margin: float = 0.06
) -> Scale:
    """Return a scale on which all values, and a margin beside them, have a place."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.1, high + (abs(high) or 1.0) * 0.1
    edge = (high - low) * margin
    return Scale(low - edge, high + edge, start, end)


def interval(
    on: Scale, middle: float | None, low: float | None, high: float | None
) -> dict[str, float] | None:
    """Return the places of a point and of the ends of its interval; None without the point."""
    if middle is None:
        return None
    return {
        "mean": on.at(middle),
        "low": on.at(middle if low is None else low),
        "high": on.at(middle if high is None else high),
    }


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two ends, at most `most` of them: steps of 1, 2 or 5."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * n for n in (1, 2, 5, 10) if span / (power * n) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


@dataclass(frozen=True)
class Point:
    """A point of a scatter plot.

    Args:
        number: that stands beside it, and in the table.
        x, y: its values.
        kind: own, advised or published.
        low, high: of y, where it has an interval.
    """

    number: int
    x: float
    y: float
    kind: str = "own"
    low: float | None = None
    high: float | None = None


def plot(
    points: Sequence[Point], x_title: str, y_title: str, *, lines: Sequence[float] = ()
) -> dict[str, Any]:
    """Return what `experiment_plot.html` draws: points, ticks, titles.

    Args:
        points: at least one.
        x_title, y_title: of the axes.
        lines: values of y at which a line is drawn.
    """
    x = scale([p.x for p in points], LEFT, WIDTH - RIGHT)
    ys = [v for p in points for v in (p.y, p.low, p.high)]
    y = scale([*ys, *lines], HEIGHT - BOTTOM, TOP)
    return {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT,
        "top": TOP, "bottom": HEIGHT - BOTTOM,
        "x_title": x_title, "y_title": y_title,
        "x_ticks": [(x.at(t), short(t)) for t in ticks(x.low, x.high)],
        "y_ticks": [(y.at(t), short(t)) for t in ticks(y.low, y.high)],
        "lines": [y.at(value) for value in lines],
        "points": [
            {
                "number": p.number, "kind": p.kind, "x": x.at(p.x), "y": y.at(p.y),
                "low": None if p.low is None else y.at(p.low),
                "high": None if p.high is None else y.at(p.high),
            }
            for p in points
        ],
        "path": " ".join(f"{x.at(p.x)},{y.at(p.y)}" for p in points),
    }  # fmt: skip


def short(value: float) -> str:
    """Write the number of a tick: 1.5 M, 20 k, 0.25."""
    for least, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / divisor:g} {unit}"
    return f"{value:g}"
