"""What the names of cells and methods mean, for a reader who has not written the experiment."""

from collections.abc import Iterable, Sequence

from crowdselect_core.experiment.cells import TOKEN_MATCHED, UNTUNED

# Parts of a cell's name, as `experiment.settings` makes it.
PARTS = {
    "k": "clusters (0: none)",
    "n": "chosen rows, or their share of the eligible ones",
    "tokens": "budget in tokens",
    "w": "weights of difficulty, separability, stability and, where given, headroom",
    "response": "whose answer is kept, where it is not the one with the highest score",
    "rewards": "reward models, where they are not all",
    "crowd": "models whose answers and scores count, where they are not all",
}
METHODS = {
    "crowdselect": "the three metrics together, weighted",
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


def names_text(cells: Sequence[str]) -> str:
    """Say what the parts of the cells' names mean; '' where none has such a part."""
    given = {part.split("=")[0] for cell in cells for part in cell.split(" ")[1:] if "=" in part}
    parts = [f"{part}: {words}" for part, words in PARTS.items() if part in given]
    return f"each is one setting, named by its method and {'; '.join(parts)}" if parts else ""


def methods_text(methods: Iterable[str]) -> str:
    """Say which rows a method prefers, of those methods that are known by a few words."""
    given = set(methods)
    return "; ".join(f"{name}: {words}" for name, words in METHODS.items() if name in given)
