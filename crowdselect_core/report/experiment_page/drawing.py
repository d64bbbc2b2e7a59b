"""Places in static figures: scales, ticks, scatter plots. All figures are SVG in the page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 560, 340  # of a scatter plot, in its own units
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 12, 44  # its margins
BAR = 220  # width of a figure in a table's cell
MARK, DIGIT, GAP = 3.5, 6.6, 3.0  # of a scatter plot: half a point, a digit, between two numbers

Box = tuple[float, float, float, float]  # left, top, right, bottom


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
    labels = labelled([(x.at(p.x), y.at(p.y), p.number, p.kind) for p in points])
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
                "label": label,
            }
            for p, label in zip(points, labels, strict=True)
        ],
        "path": " ".join(f"{x.at(p.x)},{y.at(p.y)}" for p in points),
    }  # fmt: skip


def labelled(
    points: Sequence[tuple[float, float, int, str]],
) -> list[tuple[float, float] | None]:
    """Return where the number of each point begins, so that no two are drawn over each other.

    A number stands on the first of four sides of its point that is free; where none is, there is
    none, and the table under the figure has it. Points that are advised are served first.

    Args:
        points: of each its place, its number and its kind.
    """
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y, _, _ in points]
    found: list[tuple[float, float] | None] = [None] * len(points)
    order = sorted(range(len(points)), key=lambda i: points[i][3] != "advised")
    for i in order:
        x, y, number, _ = points[i]
        wide = DIGIT * len(str(number))
        sides = [(x + 6, y - 5), (x + 6, y + 13), (x - 6 - wide, y - 5), (x - 6 - wide, y + 13)]
        for left, base in sides:
            box = (left, base - 9, left + wide + GAP, base)
            inside = left >= LEFT and box[2] <= WIDTH and box[1] >= 0 and base <= HEIGHT - BOTTOM
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                found[i] = (round(left, 1), round(base, 1))
                break
    return found


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def short(value: float) -> str:
    """Write the number of a tick: 1.5 M, 20 k, 0.25."""
    for least, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / divisor:g} {unit}"
    return f"{value:g}"
