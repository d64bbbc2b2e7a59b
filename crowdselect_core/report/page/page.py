"""The page as a whole: its sections in their order, in one file."""

from collections.abc import Sequence

from crowdselect_core.errors import ReportError
from crowdselect_core.report.page import scripts
from crowdselect_core.report.page.section import MakeSection, PageData, Section
from crowdselect_core.report.page.sections.clusters import clusters
from crowdselect_core.report.page.sections.correlations import correlations
from crowdselect_core.report.page.sections.crowd import crowd
from crowdselect_core.report.page.sections.distributions import distributions
from crowdselect_core.report.page.sections.embedding_map import embedding_map
from crowdselect_core.report.page.sections.overview import overview
from crowdselect_core.report.page.sections.reward_models import reward_models
from crowdselect_core.report.page.sections.rows import rows
from crowdselect_core.report.page.sections.sliders import sliders
from crowdselect_core.report.page.templating import filled, safe
from crowdselect_core.util.versions import version_of

MOST_BYTES = 5_000_000
SPARE = 60_000  # of these, for what is not counted

# In the order of the page. A new section is a module with such a function, and an entry here.
SECTIONS: tuple[MakeSection, ...] = (
    overview, rows, sliders, distributions, embedding_map, clusters, crowd, reward_models,
    correlations,
)  # fmt: skip
LAST = (rows,)  # made last, for they take the room that the others leave
DRAWN_BY_BOKEH = "map"


def page(data: PageData, sections: Sequence[MakeSection] = SECTIONS) -> bytes:
    """Make the page of a selection.

    Args:
        data: of the run.
        sections: what it shows, in order.

    Raises:
        ReportError: it is larger than MOST_BYTES.
    """
    name = data.summary["method"]
    title = f"Selection report: {data.summary['chosen']:,} rows by {name}"
    return assembled(title, made(data, sections))


def made(data: PageData, sections: Sequence[MakeSection]) -> list[Section]:
    """Make the sections; those in LAST last, in the room that is left."""
    room = MOST_BYTES - SPARE - len(scripts.own_script()) - len(scripts.style())
    room -= len(scripts.bokeh_block())
    found: dict[MakeSection, Section | None] = {}
    for make in sorted(sections, key=lambda s: s in LAST):
        found[make] = section = make(data, room)
        room -= section.size if section else 0
    return [section for make in sections if (section := found[make]) is not None]


def assembled(title: str, sections: Sequence[Section]) -> bytes:
    """Put sections into a page of their own.

    Raises:
        ReportError: it is larger than MOST_BYTES.
    """
    blocks = {name: block.decode() for s in sections for name, block in s.blocks.items()}
    allowed = [scripts.own_script()]
    if any(s.name == DRAWN_BY_BOKEH for s in sections):
        allowed.append(scripts.bokeh_script())
        blocks[scripts.BOKEH_BLOCK] = scripts.bokeh_block().decode()
    html = filled(
        "page.html",
        title=title,
        policy=safe(scripts.policy(allowed)),
        style=safe(scripts.style()),
        script=safe(scripts.own_script()),
        sections=[{"name": s.name, "title": s.title, "html": safe(s.html)} for s in sections],
        blocks={name: safe(text) for name, text in blocks.items()},
        version=version_of("crowdselect"),
    ).encode()
    if len(html) > MOST_BYTES:
        raise ReportError(
            f"report.html: {len(html):,} bytes, expected at most {MOST_BYTES:,}; set report: false "
            "and read the tables beside it"
        )
    return html
