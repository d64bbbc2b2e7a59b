"""An explanation of one row as lines for a terminal.

Ids, names and texts come from data and models and are hostile: control characters, escape sequences
and characters that turn the direction of writing are shown as escapes, and every line of a text
stands behind a bar, so that no text can pass for a line of ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crowdselect_core.report.explain import Explanation
from crowdselect_core.report.explain_answers import CrowdAnswer
from crowdselect_core.report.text import one_line
from crowdselect_core.selection.explanations import IN_WORDS
from crowdselect_core.stages.select.selection import method_label
from crowdselect_core.tables import METRIC_NAMES
from crowdselect_core.urls import shown_path
from crowdselect_core.util.text import plain

NAME = 60  # characters of a name that are shown
LABEL = 10  # characters of a label


def explanation_lines(told: Explanation) -> Iterator[str]:
    """Yield the lines of an explanation."""
    yield from _head(told)
    yield from _numbers(told)
    yield from _gates(told)
    yield from _kept(told)
    if told.answers:
        yield ""
        yield from _table(told)
    if told.no_texts is not None:
        yield ""
        yield _line("texts", f"not shown: {one_line(told.no_texts, 400)}")
    yield from _texts(told)


def _head(told: Explanation) -> Iterator[str]:
    config = told.found.config
    yield _line("row", plain(told.row_id))
    if told.source is not None:
        name, number = told.source
        place = f"row {number:,} of the data set, counted over all files from 0"
        yield _line("source", f"{one_line(name, NAME)}, {place}")
    yield _line("selection", plain(told.found.place))
    yield _line("data set", plain(shown_path(config.dataset.path)))
    how = f"{one_line(method_label(config), NAME)}, {told.found.inputs.selection.rows:,} chosen of "
    yield _line("method", f"{how}{told.found.inputs.ranking.rows:,} rows")
    why = told.place.row["reason"] if told.place is not None else told.left_out
    yield _line("why", one_line(why, 2000))


def _numbers(told: Explanation) -> Iterator[str]:
    """Yield the ranks, the metrics with percentiles, and what else the tables have."""
    if told.place is None:
        return
    place, row = told.place, told.place.row
    if row["eligible"]:
        rank = "none, not chosen" if row["rank"] is None else f"{row['rank']:,} of {place.budget:,}"
        yield _line("rank", rank)
        group = "all rows" if row["cluster_id"] is None else f"cluster {row['cluster_id']}"
        yield _line(
            "cluster",
            f"position {row['rank_in_cluster']:,} of {place.eligible:,} eligible in {group}, "
            f"{place.chosen:,} chosen",
        )
        yield _line("score", _number(row["score"]))
        yield _line("margin", _margin(row["margin"], chosen=row["selected"]))
    else:
        code = place.code or ""
        words = f" ({IN_WORDS[code]})" if code in IN_WORDS else ""
        yield _line("ineligible", f"{one_line(code, 400)}{words}")
    yield ""
    weights = dict(zip(METRIC_NAMES, told.found.config.weights, strict=False))
    for name in METRIC_NAMES:
        if row.get(name) is None and name == "headroom":
            continue
        weighs = told.found.config.method == "crowdselect"
        weight = f", weight {weights.get(name, 0):g}" if weighs else ""
        yield _line(name, f"{_number(row.get(name))}{_percentile(row, name)}{weight}", 16)
    yield _line("scores", f"{row['n_scores']} of {len(told.found.config.models)} crowd models", 16)
    for name, value in told.numbers.items():
        if not isinstance(value, list | dict | bytes):
            yield _line(one_line(name, NAME), one_line(_number(value), NAME), 16)


def _gates(told: Explanation) -> Iterator[str]:
    if told.gates is None:
        return
    yield ""
    for gate, reasons in told.gates.items():
        yield _line(gate, one_line("; ".join(reasons), 1000) if reasons else "passes", 16)


def _kept(told: Explanation) -> Iterator[str]:
    if told.kept is None:
        return
    yield ""
    label = "kept" if told.kept.chosen else "would keep"
    if told.kept.model is None:
        yield _line(label, f"none: {told.kept.why}")
        return
    yield _line(label, f"{one_line(told.kept.model, NAME)}: {told.kept.why}")
    scores = {a.model.name: a.score for a in told.answers}
    own = scores.get(told.kept.model)
    above = [
        a.model.name
        for a in told.answers
        if own is not None and a.score is not None and a.score > own and a.complete is False
    ]
    if above:
        names = ", ".join(one_line(name, NAME) for name in above)
        yield _line("", f"incomplete answers with a higher score: {names}")


def _table(told: Explanation) -> Iterator[str]:
    """Yield the crowd's scores as a table, the best first."""
    rewards = told.found.config.reward_names
    several = len(rewards) > 1
    head = ["model", "family", "size", *(["combined"] if several else []), *rewards, "answer"]
    rows = [head]
    for answer in sorted(told.answers, key=_best_first):
        model = answer.model
        kept = told.kept is not None and told.kept.model == model.name
        rows.append(
            [
                model.name + (" (student)" if model.role == "student" else ""),
                model.family,
                f"{model.size:g}",
                *([_number(answer.score)] if several else []),
                *(_both(answer, r) for r in rewards),
                _state(answer, kept=kept),
            ]
        )
    yield from _aligned(rows)


def _texts(told: Explanation) -> Iterator[str]:
    """Yield the turns of the prompt and every answer, whole."""
    for turn in told.prompt or ():
        yield from ("", f"--- {one_line(turn['role'], 400)}")
        yield from _barred(turn["content"])
    if told.no_texts is not None:
        return
    for answer in sorted(told.answers, key=_best_first):
        kept = told.kept is not None and told.kept.model == answer.model.name
        state, score = _state(answer, kept=kept), _number(answer.score)
        name = one_line(answer.model.name, NAME)
        yield from ("", f"--- answer of {name}, score {score}, {state}")
        yield from _barred(answer.text or "")


def _barred(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        yield f"  | {plain(line.replace(chr(9), '    '))}".rstrip(" ")


def _line(label: str, value: str, width: int = LABEL) -> str:
    return f"{label:<{width}} {value}".rstrip(" ")


def _number(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _percentile(row: Mapping[str, Any], name: str) -> str:
    quantile = row.get(f"{name}_q")
    return "" if quantile is None else f", higher than {100 * quantile:.1f}% of the eligible rows"


def _margin(margin: float | None, *, chosen: bool) -> str:
    other = "the best row of the cluster that is not chosen" if chosen else "the last chosen row"
    if margin is None:
        return f"none: there is no such row as {other}"
    return f"{margin:+.6g} to {other}"


def _both(answer: CrowdAnswer, reward: str) -> str:
    """Say a reward model's score; of several samples the mean, and that of the one shown."""
    mean = answer.scores.get(reward)
    said = "missing" if mean is None else _number(mean)
    if reward in answer.shown:
        single = answer.shown[reward]
        said += f" (shown: {'missing' if single is None else _number(single)})"
    return said


def _state(answer: CrowdAnswer, *, kept: bool) -> str:
    """Say whether the answer may be kept, and whether it is."""
    if kept:
        return "kept"
    if answer.complete is None:
        return "not read"
    if answer.complete:
        return "complete"
    if not (answer.text or "").strip():
        return "no answer" if answer.text is None else "empty"
    return f"incomplete ({one_line(answer.ending, NAME)})"


def _best_first(answer: CrowdAnswer) -> tuple[bool, float, str]:
    score = answer.score
    return score is None, -(score if score is not None else 0.0), answer.model.name


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of cells, each column as wide as its widest cell."""
    cells = [[one_line(cell, NAME) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip(" ")
