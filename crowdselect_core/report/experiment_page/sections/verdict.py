"""The verdict: the comparison that was named beforehand, in plain words, and what to beware of."""

from typing import Any

from crowdselect_core.experiment.metric_words import better
from crowdselect_core.experiment.schemas import CHOICE
from crowdselect_core.experiment.verdict import finding
from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.legend import crowd_text, methods_text, names_text
from crowdselect_core.report.experiment_page.words import budget_text, counted
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled

SHOWN = 20  # exploratory verdicts
NOTHING = "none: nothing was trained, the chosen rows themselves are compared"
SEEDS = 20  # that are listed


def verdict(data: ExperimentData, limits: Limits) -> Section:
    """Show what the experiment found on one screen."""
    lines, primary = data.words("verdicts"), data.primary
    first = lines[0] if primary is not None and lines else None
    others = lines[1:] if first is not None else lines
    html = filled(
        "experiment_verdict.html",
        headline=headline(data),
        first=first,
        others=others[:SHOWN],
        left_out=max(len(others) - SHOWN, 0),
        count=counted(len(others), "comparison" if first is None else "exploratory comparison"),
        tiles=tiles(data),
        facts=facts(data),
        notes=data.words("notes"),
    )
    return Section("verdict", "Verdict", html)


def headline(data: ExperimentData) -> str:
    """Say in one sentence what the primary comparison found, or why there is none."""
    row = data.primary
    if row is not None:
        way = better(row["benchmark"], row["metric"])
        found, own = finding(row, way), f"{row['a']} is "
        if found.startswith(own):
            return f"{found} than {row['b']}."
        return f"{row['a']} against {row['b']}: {found}."
    if data.comparisons.height:
        return (
            "No comparison was named beforehand (experiment.primary): all that follow are "
            "exploratory, and among many some look good by chance."
        )
    if data.told("experiment", "train"):
        return "No two cells could be compared."
    return (
        "Nothing was trained: the choices alone are compared. Whether one of them makes a better "
        "model is not known."
    )


def tiles(data: ExperimentData) -> list[tuple[str, int]]:
    """Return the counts of the first screen."""
    found = [
        ("cells: settings that are compared", len(data.words("cells"))),
        ("replicates: repetitions of every cell", int(data.summary.get("replicates", 0))),
        ("comparisons of trained cells", data.comparisons.height),
        ("pairs of choices", data.overlaps.height),
    ]
    return [(name, count) for name, count in found if count]


def facts(data: ExperimentData) -> list[tuple[str, str]]:
    """Return how the experiment was made, as names and values."""
    found = [
        ("Cells", names_text(data.words("cells"))),
        ("Methods", methods_text(data.experiment["method"].drop_nulls().unique())),
        ("Data set", _dataset(data.told("dataset"))),
        ("Crowd", crowd_text(data.told("crowd"))),
        ("Reward models", ", ".join(_rewards(data))),
    ]
    primary = data.told("experiment", "primary")
    if isinstance(primary, dict):
        found.append(
            ("Named beforehand",
             f"{primary.get('method')} against {primary.get('baseline')}, {primary.get('metric')}")
        )  # fmt: skip
    chosen = data.experiment.filter(data.experiment["method"] != "untuned")
    budgets = chosen["budget"].unique().sort(nulls_last=True).to_list()
    found.append(("Budgets", ", ".join(budget_text(b) for b in budgets)))
    seeds = data.told("experiment", "seeds")
    if isinstance(seeds, list):
        more = f" and {len(seeds) - SEEDS} more" if len(seeds) > SEEDS else ""
        found.append(("Seeds", ", ".join(map(str, seeds[:SEEDS])) + more))
    found.append(("A replicate has its own", _replicate(data)))
    models = data.experiment["base_model"].drop_nulls().unique(maintain_order=True).to_list()
    found.append(("Base models", ", ".join(models) or NOTHING))
    measured = data.experiment["benchmark"].unique(maintain_order=True).to_list()
    found.append(("Measured by", ", ".join(m for m in measured if m != CHOICE)))
    left_out = [f"{', '.join(one.controls)}: {one.why}" for one in data.left_out]
    found.append(("Controls left out", "; ".join(left_out)))
    return [(name, value) for name, value in found if value]


def _rewards(data: ExperimentData) -> list[str]:
    """Return the names of all reward models that any cell reads."""
    given = data.experiment["reward_models"].drop_nulls().unique(maintain_order=True).to_list()
    return list(dict.fromkeys(name for names in given for name in names.split(",") if name))


def _dataset(told: Any) -> str:
    if isinstance(told, dict):
        return str(told.get("path") or "")
    return str(told or "")


def _replicate(data: ExperimentData) -> str:
    found = []
    if data.heldout_share is not None:
        found.append(f"held-out rows ({data.heldout_share:.1%} of the prompts)".replace("%", " %"))
    subsample = data.told("experiment", "replicate", "subsample")
    if isinstance(subsample, int | float):
        of = "the rows" if data.told("heldout") is None else "the other rows"
        found.append(f"subsample ({subsample:.0%} of {of})".replace("%", " %"))
    found.append("random draws")
    return ", ".join([*found, *(["training seed"] if data.told("experiment", "train") else [])])
