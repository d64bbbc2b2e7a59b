"""What methods and a crowd are, in a few words that the pages share."""

from crowdselect_core.experiment.cells import TOKEN_MATCHED, UNTUNED
from crowdselect_core.util.text import plural

# Which rows a method prefers, from the top.
METHODS = {
    "crowdselect": "the metrics of the crowd together, weighted",
    "difficulty": "the crowd's answers have a low mean score",
    "separability": "the models' scores differ",
    "stability": "larger models of a family score higher than smaller ones",
    "reward": "the best answer has a high score",
    "random": "rows drawn at random",
    "length": "the instruction, or the kept answer, is long",
    "teacher": "random rows, each with the answer of one model",
    TOKEN_MATCHED: "random rows with as many answer tokens as the cell that is named",
    UNTUNED: "the base model without a training",
}


def crowd_size(models: int, families: int) -> str:
    """Write how many models of how many families a crowd has."""
    return f"{plural(models, 'model')} of {families:,} {'family' if families == 1 else 'families'}"
