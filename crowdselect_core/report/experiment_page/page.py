"""The page as a whole: the verdict first, then what it rests on."""

from collections.abc import Callable

from crowdselect_core.errors import ReportError
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.sections.advice import advice
from crowdselect_core.report.experiment_page.sections.benchmarks import benchmarks
from crowdselect_core.report.experiment_page.sections.choices import choices
from crowdselect_core.report.experiment_page.sections.comparisons import comparisons
from crowdselect_core.report.experiment_page.sections.gain import gain
from crowdselect_core.report.experiment_page.sections.leaderboard import leaderboard
from crowdselect_core.report.experiment_page.sections.overlaps import overlaps
from crowdselect_core.report.experiment_page.sections.published import published
from crowdselect_core.report.experiment_page.sections.sensitivity import sensitivity
from crowdselect_core.report.experiment_page.sections.verdict import verdict
from crowdselect_core.report.experiment_page.words import counted
from crowdselect_core.report.page.page import assembled
from crowdselect_core.report.page.section import Section

MakeSection = Callable[[ExperimentData, Limits], Section | None]

# In the order of the page. A new section is a module with such a function, and an entry here.
SECTIONS: tuple[MakeSection, ...] = (
    verdict, comparisons, leaderboard, gain, benchmarks, published, choices, overlaps, advice,
    sensitivity,
)  # fmt: skip
# Tried in turn, until the page is small enough.
LIMITS = (Limits(300, 30), Limits(100, 20), Limits(25, 10))


def page(data: ExperimentData) -> bytes:
    """Make the page of an experiment.

    Raises:
        ReportError: even the shortest page is too large.
    """
    cells = counted(len(data.words("cells")), "cell")
    replicates = counted(int(data.summary.get("replicates", 0)), "replicate")
    title = f"Experiment report: {cells}, {replicates}"
    for limits in LIMITS[:-1]:
        try:
            return assembled(title, made(data, limits))
        except ReportError:  # too large: with shorter tables
            continue
    return assembled(title, made(data, LIMITS[-1]))


def made(data: ExperimentData, limits: Limits) -> list[Section]:
    """Make the sections that have something to show."""
    found = (make(data, limits) for make in SECTIONS)
    return [section for section in found if section is not None]
