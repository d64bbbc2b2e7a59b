"""What the names of cells and methods mean, for a reader who has not written the experiment."""

from collections.abc import Iterable, Sequence
from typing import Any

from crowdselect_core.report.method_words import METHODS, crowd_size

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


def names_text(cells: Sequence[str]) -> str:
    """Say what the parts of the cells' names mean; '' where none has such a part."""
    given = {part.split("=")[0] for cell in cells for part in cell.split(" ")[1:] if "=" in part}
    parts = [f"{part}: {words}" for part, words in PARTS.items() if part in given]
    return f"each is one setting, named by its method and {'; '.join(parts)}" if parts else ""


def methods_text(methods: Iterable[str]) -> str:
    """Say which rows a method prefers, of those methods that are known by a few words."""
    given = set(methods)
    return "; ".join(f"{name}: {words}" for name, words in METHODS.items() if name in given)


def crowd_text(crowd: Any) -> str:
    """Say what the crowd is, of the manifest's list of models; '' where it names none."""
    members = [m for m in crowd if isinstance(m, dict)] if isinstance(crowd, list) else []
    own = [m for m in members if m.get("role") in (None, "crowd")]
    if not own:
        return ""
    families = {str(m.get("family")) for m in own}
    return f"{crowd_size(len(own), len(families))}; a row keeps the answer of one of them"
