"""How the figures look and how they become bytes: the same input gives the same bytes.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; families differ by
marker too. Texts from data are drawn as they are: no mathtext, control characters as escapes, and
characters that the font has no glyph of by their code.
"""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from crowdselect_core.report.text import one_line

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
ELIGIBLE, CHOSEN = "#8FB8D8", "#D55E00"
DIVERGING = "PuOr"  # its ends and its middle are told apart without red and green
DPI = 150
NAME = 36  # characters of a name that are drawn
FONT = "DejaVu Sans"  # comes with matplotlib

Draw = Callable[[], Figure]

SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "crowdselect",  # ids in the SVG follow from the content alone
    "svg.fonttype": "path",  # looks the same without the font
    "text.parse_math": False,  # a `$` in a name is a dollar
    "font.family": [FONT],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.unicode_minus": True,
    "legend.frameon": False,
}

_lock = threading.Lock()  # matplotlib's settings are those of the process


@contextmanager
def drawing() -> Iterator[None]:
    """Set matplotlib up for a figure, whatever the user's own settings; they come back after it."""
    with _lock, mpl.rc_context():
        mpl.rcdefaults()
        parameters: Any = mpl.rcParams  # typed by its 400 names, of which SETTINGS has a few
        parameters.update(SETTINGS)
        yield


def as_bytes(draw: Draw, title: str) -> dict[str, bytes]:
    """Return a figure as SVG and PNG, by the ending.

    Args:
        draw: makes the figure.
        title: says what it shows; it is in both files, without date or version.
    """
    with drawing():
        figure = draw()
        svg, png = io.BytesIO(), io.BytesIO()
        told = {"Title": title, "Date": None, "Creator": None}
        figure.savefig(svg, format="svg", metadata=told)
        figure.savefig(png, format="png", dpi=DPI, metadata={"Title": title, "Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}


def label(text: str, width: int = NAME) -> str:
    """Return a text from data as a figure may draw it."""
    font = font_manager.get_font(font_manager.findfont(FONT))
    shown = one_line(text, width)
    return "".join(c if font.get_char_index(ord(c)) else _code(c) for c in shown)


def _code(character: str) -> str:
    return character.encode("unicode_escape").decode()


def figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of so many inches, and its axes from left to right."""
    made = Figure(figsize=(width, height), layout="constrained")
    axes = made.subplots(1, columns, squeeze=False)[0]
    return made, list(axes)


def family_styles(families: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a colour and a marker for every family; more than 8 share colours, not markers."""
    return {
        name: {
            "color": COLOURS[i % len(COLOURS)],
            "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
        }
        for i, name in enumerate(families)
    }
