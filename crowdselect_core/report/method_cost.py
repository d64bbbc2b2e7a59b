"""What a selection needs of a crowd: how many answers and scores, and rows that a model reads."""

from crowdselect_core.annotate import pre_experienced
from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.methods.answers_needed import needed
from crowdselect_core.stages.refs import SelectionArtifacts
from crowdselect_core.util.text import plural


def method_cost(config: SelectConfig, inputs: SelectionArtifacts) -> dict[str, int]:
    """Count what the method and the response rule need, had the data set nothing yet.

    See `needed`.

    Returns:
        answers, models (that answer), scores, annotated (rows that the method's model read),
        crowd (answers of the whole crowd to all rows), and trained (rows that its model is trained
        on first), where it is.
    """
    rows = inputs.scores.rows
    found = needed(config, rows, inputs.selection.rows)
    first = pre_experienced.wanted(config)
    annotated = inputs.values.rows if inputs.values and annotates(config) else 0
    cost = {
        "answers": found.answers, "models": found.models, "scores": found.scores,
        "annotated": annotated, "crowd": rows * len(config.models),
    }  # fmt: skip
    return cost | ({"trained": min(first.rows, rows)} if first else {})


def cost_line(cost: dict[str, int]) -> str:
    """Say in one line what a selection needs."""
    share = f"{cost['answers'] / max(cost['crowd'], 1):.1%} of the whole crowd's {cost['crowd']:,}"
    answers, models = plural(cost["answers"], "answer"), plural(cost["models"], "model")
    words = [f"needs {answers} of {models} ({share})"]
    if cost["scores"]:
        words.append(plural(cost["scores"], "score"))
    if cost.get("trained"):
        words.append(f"a training on {plural(cost['trained'], 'row')} first")
    if cost["annotated"]:
        words.append(f"{plural(cost['annotated'], 'row')} read by the method's model")
    return ", ".join(words)
