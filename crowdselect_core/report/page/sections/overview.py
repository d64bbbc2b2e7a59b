"""One screen: what went in, what was chosen, by what, at what cost, and what to beware of."""

from typing import Any

import polars as pl

from crowdselect_core.report.method_cost import cost_line
from crowdselect_core.report.method_words import METHODS, crowd_size
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.templating import filled, number, percent
from crowdselect_core.report.quality import gate_lines
from crowdselect_core.report.summary import in_words
from crowdselect_core.selection.metric_weights import method_weights
from crowdselect_core.tables import METRIC_NAMES

# What a high quantile of each metric means, of a row.
HIGHER = {
    "difficulty": "harder than {}",
    "separability": "separates the models more than {}",
    "stability": "favours bigger models more consistently than {}",
    "headroom": "leaves the student more to learn than {}",
}
# What a quota of the clusters means.
QUOTAS = {
    "equal": "equal (as many rows of each, as far as it has them)",
    "proportional": "proportional (rows by the cluster's size)",
}


def overview(data: PageData, room: int) -> Section:
    """Show the run on one screen."""
    summary = data.summary
    refused = [(in_words(code), count) for code, count in summary["ineligible"].items()]
    html = filled(
        "overview.html",
        lines=lines(data),
        rows_in=summary["rows_in"],
        eligible=summary["eligible"],
        refused=sorted(refused, key=lambda r: -r[1]),
        refused_rows=sum(summary["ineligible"].values()),
        chosen=summary["chosen"],
        facts=facts(data),
        notes=notes(summary),
        overlaps=summary["overlaps"],
    )
    return Section("overview", "At a glance", html)


def lines(data: PageData) -> list[str]:
    """Say in three lines what was chosen, how it differs from the rest, and what is not known."""
    summary = data.summary
    clusters = summary["clusters"]
    where = ""
    if clusters:
        least, most = min(clusters), max(clusters)
        each = number(least) if least == most else f"{number(least)} to {number(most)}"
        where = f", {each} from each of {len(clusters)} clusters of similar instructions"
    share = summary["chosen"] / max(summary["rows_in"], 1)
    return [
        f"{number(summary['chosen'])} of {number(summary['rows_in'])} rows were chosen "
        f"({percent(share, 1)}){where}.",
        f"{_differs(data)} {_overlap(summary)}".strip(),
        "This page shows what was chosen and why. Whether training on it helps is another "
        "question: train on it and on a random choice of the same size, and compare "
        "(flows.finetune, flows.evaluate).",
    ]


def _differs(data: PageData) -> str:
    """Say how the chosen rows' metrics lie among those of the eligible rows."""
    chosen = data.ranking.filter("selected")
    parts = []
    for name in METRIC_NAMES:
        mean = chosen[f"{name}_q"].mean()
        if isinstance(mean, float) and (name != "headroom" or data.config.student):
            parts.append(HIGHER[name].format(percent(mean)))
    if not parts:
        return "The method reads none of the crowd's metrics."
    return f"Of the eligible rows, an average chosen row is {_listed(parts)}."


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _overlap(summary: Any) -> str:
    random = next((o for o in summary["overlaps"] if o["baseline"] == "random"), None)
    if random is None:
        return ""
    return (
        f"A random choice of the same size has {number(random['overlap'])} rows in common with it "
        f"({random['by_chance']:.1f} expected by chance)."
    )


def facts(data: PageData) -> list[tuple[str, str]]:
    """Return how the choice was made, as names and values."""
    config, summary = data.config, data.summary
    words = METHODS.get(config.method) if config.direction == "top" else None
    found = [("Method", summary["method"] + (f": {words}" if words else ""))]
    weights = method_weights(config.method, config.weights)
    if weights is not None:
        named = zip(METRIC_NAMES, weights, strict=True)
        shown = [f"{name} {w:g}" for name, w in named if w or name != "headroom"]
        found.append(("Weights", ", ".join(shown)))
    found.append(("Budget", budget(data)))
    quota = QUOTAS.get(config.quota, config.quota)
    clusters = f"{config.clusters}, quota {quota}" if data.inputs.clusters else "none"
    found.append(("Clusters", clusters))
    if data.has_answers:
        found.append(("Kept answer", _response(config.response_mode)))
    families = {m.family for m in config.models}
    scored = "whose answers are scored" if data.has_answers else "of which there are scores alone"
    found.append(("Crowd", f"{crowd_size(len(config.models), len(families))}, {scored}"))
    found.append(("Reward models", ", ".join(config.reward_names)))
    found.append(("Cost from scratch", cost_line(summary["cost"])))
    if summary["duplicate_rows"]:
        found.append(("Duplicates", f"{number(summary['duplicate_rows'])} rows stand twice"))
    if "heldout" in summary:
        held = summary["heldout"]
        found.append(
            ("Held out", f"{number(held['rows'])} rows, {number(held['near_duplicates'])} "
             "near-duplicates")
        )  # fmt: skip
    if summary["pairs"] or summary["without_pair"]:
        found.append(("Preference pairs", number(summary["pairs"])))
    found += [("Quality", line) for line in gate_lines(summary.get("quality"))]
    return found


def budget(data: PageData) -> str:
    """Say what was asked for."""
    config = data.config
    if config.token_budget is not None:
        return config.token_budget
    if isinstance(config.budget, float):
        return f"{config.budget:g} of the eligible rows"
    return f"{number(config.budget)} rows"


def _response(mode: str | list[str]) -> str:
    if mode == "best":
        return "best: the complete answer with the highest score"
    return mode if isinstance(mode, str) else f"the best of {', '.join(mode)}"


def notes(summary: Any) -> list[str]:
    """Return what a reader must know: warnings of the run, and what lacks."""
    found = list(summary["notes"])
    if missing := summary["missing_scores"]:
        lacking = "score is missing; it is" if missing == 1 else "scores are missing; they are"
        found.append(f"{number(missing)} {lacking} left out of every metric")
    if summary["without_pair"]:
        found.append(f"{number(summary['without_pair'])} chosen rows have no preference pair")
    return found


def quantile_columns(ranking: pl.DataFrame) -> list[str]:
    """Return the metrics that any row has a quantile of."""
    return [n for n in METRIC_NAMES if ranking[f"{n}_q"].count()]
