"""How many answers and scores a selection needs, had the data set none yet."""

from dataclasses import dataclass

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.stages.select.method_ranking import is_rival


@dataclass(frozen=True)
class Needed:
    """What a selection needs of the crowd and the reward models.

    Attributes:
        answers: in all.
        models: that answer.
        scores: of these answers, by every reward model.
    """

    answers: int
    models: int
    scores: int


def needed(config: SelectConfig, rows: int, chosen: int) -> Needed:
    """Count what the method and the response rule need.

    A method of scores needs every model's answer to every row, and so does `best` of the models
    that may be kept. A method that reads the kept answer needs one a row where the answer is a
    named model's or a random one, and else one of every model that may be kept; any other needs
    the answers of the chosen rows alone.

    Args:
        config: resolved.
        rows: that are chosen from.
        chosen: how many of them.
    """
    mode = mode_of(config)
    by_scores = not is_rival(config.method) and config.method != "random"
    reads = annotates(config) or (config.method == "length" and config.length.of == "response")
    if by_scores or mode.needs_score:
        models = len(config.models) if by_scores else len(mode.models)
        return Needed(rows * models, models, rows * models * len(config.reward_names))
    return Needed(rows if reads else chosen, len(mode.models), 0)
