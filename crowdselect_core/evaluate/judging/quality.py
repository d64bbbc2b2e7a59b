"""How far a judge can be trusted: position bias, length bias, agreement with other judges."""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

LEAST = 10  # verdicts below which nothing is said


class Game(NamedTuple):
    """A verdict on two answers.

    Args:
        winner: A, B, or C for a tie; None where it cannot be read.
        length_a: characters of the answer on side A.
        length_b: of that on side B.
    """

    winner: str | None
    length_a: int
    length_b: int


def pair_notes(judge: str, games: Sequence[Game]) -> list[str]:
    """Tell which side and which length a judge prefers.

    Without a bias both shares are near 50 %: every pair is judged in both orders. A longer answer
    may also be the better one, so the second share alone proves nothing.
    """
    decided = [game for game in games if game.winner in ("A", "B")]
    if len(decided) < LEAST:
        return []
    first = sum(game.winner == "A" for game in decided) / len(decided)
    told = f"{judge}: of {len(decided):,} decided games the first answer won {first:.0%}"
    unequal = [game for game in decided if game.length_a != game.length_b]
    if unequal:
        longer = sum(
            (game.winner == "A") == (game.length_a > game.length_b) for game in unequal
        ) / len(unequal)
        told += f", the longer one {longer:.0%}"
    return [f"{told} (50 % without a bias)"]


def rating_notes(judge: str, ratings: Sequence[tuple[float, int]]) -> list[str]:
    """Tell the rank correlation of the ratings with the lengths of the answers."""
    rho = _rho([r for r, _ in ratings], [float(length) for _, length in ratings])
    if rho is None:
        return []
    return [f"{judge}: rank correlation of rating and length {rho:.2f} over {len(ratings):,}"]


def agreement_notes(verdicts: Mapping[str, Mapping[Hashable, float | str]]) -> list[str]:
    """Tell how far each two judges agree, on what both have judged and could be read.

    Args:
        verdicts: by judge, then by what was judged: a rating, or the winner.
    """
    notes = []
    names = sorted(verdicts)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            both = sorted(set(verdicts[one]) & set(verdicts[other]), key=repr)
            if len(both) < LEAST:
                continue
            pairs = [(verdicts[one][key], verdicts[other][key]) for key in both]
            same = sum(a == b for a, b in pairs) / len(pairs)
            told = f"{one} and {other} give the same verdict on {same:.0%} of {len(pairs):,}"
            if all(isinstance(a, float) and isinstance(b, float) for a, b in pairs):
                rho = _rho([float(a) for a, _ in pairs], [float(b) for _, b in pairs])
                told += "" if rho is None else f", rank correlation {rho:.2f}"
            else:
                told += f", Cohen's kappa {kappa([(str(a), str(b)) for a, b in pairs]):.2f}"
            notes.append(told)
    return notes


def kappa(pairs: Sequence[tuple[str, str]]) -> float:
    """Return Cohen's kappa: (observed - expected agreement) / (1 - expected agreement).

    1 where both always give one and the same verdict.
    """
    n = len(pairs)
    observed = sum(a == b for a, b in pairs) / n
    words = {word for pair in pairs for word in pair}
    expected = sum(
        sum(a == word for a, _ in pairs) / n * (sum(b == word for _, b in pairs) / n)
        for word in words
    )
    return 1.0 if expected == 1.0 else (observed - expected) / (1.0 - expected)


def _rho(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rho; None for too few values, or where all are the same."""
    if len(one) < LEAST or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
