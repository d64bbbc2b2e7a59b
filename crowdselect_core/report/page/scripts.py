"""The scripts and the style of the page, and the policy that allows these scripts and no other.

Bokeh's scripts are those of the installed package. They travel compressed, and the page puts them
in as an inline script: the policy names the hash of that script's text.
"""

import base64
import gzip
from functools import cache
from hashlib import sha256
from importlib import resources

from crowdselect_core.report.page.packing import LEVEL

# Joined into one script; its functions are its own.
OWN = (
    "unpacking.js", "dom.js", "reselection.js", "details.js", "table.js", "sliders.js", "map.js",
    "sorting.js", "main.js",
)  # fmt: skip
BOKEH = ("bokeh.min.js", "bokeh-gl.min.js", "bokeh-api.min.js")
BOKEH_BLOCK = "bokeh"  # the element that holds the latter


@cache
def own_script() -> str:
    """Return the page's own script."""
    folder = resources.files("crowdselect_core.report.page") / "assets"
    parts = [(folder / name).read_text("utf-8") for name in OWN]
    return "(() => {\n" + "\n".join(parts) + "})();"


@cache
def style() -> str:
    """Return the page's style sheet."""
    return (resources.files("crowdselect_core.report.page") / "assets/style.css").read_text("utf-8")


@cache
def bokeh_script() -> str:
    """Return Bokeh's scripts as one, without the addresses of their source maps."""
    folder = resources.files("bokeh") / "server/static/js"
    texts = [(folder / name).read_text("utf-8") for name in BOKEH]
    lines = [line for text in texts for line in text.split("\n")]
    return "\n".join(line for line in lines if not line.startswith("//# sourceMappingURL="))


@cache
def bokeh_block() -> bytes:
    """Return Bokeh's script as the page's data."""
    return base64.b64encode(gzip.compress(bokeh_script().encode(), LEVEL, mtime=0))


def policy(scripts: list[str]) -> str:
    """Return the Content-Security-Policy: nothing is loaded, the scripts alone run.

    Styles of Bokeh and of the page are inline. What is drawn is saved as a picture by way of data:
    and blob:, which are no requests.
    """
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return base64.b64encode(sha256(script.encode()).digest()).decode()
