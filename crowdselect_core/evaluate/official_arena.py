"""What Arena-Hard's own scripts print: their bootstraps over battles, 100 rounds.

They resample battles, three of them for a label with `>>`, so their intervals are too narrow: the
battles of a question depend on each other. v0.1 (0489bf3) also anchors the rounds to gpt-4-0314
whatever the baseline; where that model is not there, the ratings of a round have mean 0. v2
(196f6b8) gives the mean and the 5 % and 95 % quantiles of its rounds.

v0.1's rounds are drawn as its script draws them (numpy's legacy generator, seed 42, files in the
order of their names), so that the digits are its own; v2's are unseeded, ours have seed 42.

Array names carry their shape: R rounds, B battles, Q questions, M models.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crowdselect_core.evaluate import bootstrap
from crowdselect_core.evaluate.arena_rows import BASELINE, Game, Games
from crowdselect_core.evaluate.bootstrap import Floats
from crowdselect_core.evaluate.style_control import Design, percent
from crowdselect_core.evaluate.tally import Tally

ROUNDS, SEED = 100, 42
LEVELS = {"v0.1": 95.0, "v2": 90.0}

Bounded = tuple[Floats, tuple[Floats, Floats]]  # values, and the ends of their intervals


def plain(group: Games, tally: Tally) -> Bounded:
    """Return the plain win rates of the official script, in per cent."""
    model_B, _, share_B = _battles(group.games, tally)
    if group.version == "v2":
        return _means(model_B, share_B, len(tally.models))
    baseline = group.games[0].baseline
    anchor = tally.models.index(BASELINE) if BASELINE in tally.models else None
    rating_RM, base_R = [], []
    for drawn in _draws(len(share_B)):
        strength_M = _strengths(model_B[drawn], share_B[drawn], len(tally.models))
        if baseline == BASELINE:
            origin = 0.0  # the rating of the baseline, less the anchor's
        elif anchor is not None:
            origin = -strength_M[anchor]
        else:
            origin = -np.nansum(strength_M) / (len(tally.models) + 1)
        rating_RM.append(strength_M + origin)
        base_R.append(origin)
    low_M, high_M = bootstrap.interval(np.array(rating_RM))
    base_low, base_high = np.percentile(base_R, [2.5, 97.5])
    return 100 * tally.value_M, (percent(low_M - base_low), percent(high_M - base_high))


def controlled(group: Games, design: Design) -> Bounded:
    """Return the style-controlled win rates of the official script, in per cent."""
    tally = design.tally
    start_P = design.strengths()
    strength_RM = design.resampled(start_P, _resampled(group, tally))
    low_M, high_M = bootstrap.interval(strength_RM, LEVELS[group.version])
    value_M = design.known(start_P)
    if group.version == "v2":
        value_M, _ = bootstrap.interval(strength_RM, level=0.0)  # the median
    return percent(value_M), (percent(low_M), percent(high_M))


def _means(model_B: NDArray[np.intp], share_B: Floats, models: int) -> Bounded:
    """Resample the battles of each model by itself, as v2 does."""
    random = np.random.RandomState(SEED)
    means_RM = np.full((ROUNDS, models), np.nan)
    for model in range(models):
        own_B = share_B[model_B == model]
        if len(own_B):
            drawn_RB = random.randint(0, len(own_B), (ROUNDS, len(own_B)))
            means_RM[:, model] = own_B[drawn_RB].mean(axis=1)
    low_M, high_M = bootstrap.interval(means_RM, LEVELS["v2"])
    return 100 * means_RM.mean(axis=0), (100 * low_M, 100 * high_M)


def _strengths(model_B: NDArray[np.intp], share_B: Floats, models: int) -> Floats:
    """Return the unpenalised strengths against the baseline in logits, in closed form.

    A model that wins or loses every battle would be infinitely far: it is half a battle short.
    """
    battles_M = np.bincount(model_B, minlength=models).astype(np.float64)
    won_M = np.bincount(model_B, weights=share_B, minlength=models)
    won_M = np.clip(won_M, 0.5, battles_M - 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(battles_M > 0, np.log(won_M / (battles_M - won_M)), np.nan)


def _resampled(group: Games, tally: Tally) -> Iterator[tuple[Floats, Floats]]:
    """Yield the battles of every round, summed by question and model; a round at a time."""
    model_B, question_B, share_B = _battles(group.games, tally)
    shape = 1, len(tally.questions), len(tally.models)
    cell_B, cells = question_B * len(tally.models) + model_B, shape[1] * shape[2]
    for drawn in _draws(len(share_B)):
        total_N = np.bincount(cell_B[drawn], weights=share_B[drawn], minlength=cells)
        weight_N = np.bincount(cell_B[drawn], minlength=cells)
        yield total_N.reshape(shape).astype(np.float64), weight_N.reshape(shape).astype(np.float64)


def _battles(
    games: Sequence[Game], tally: Tally
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return every battle's model, question and the model's share of the win, in order."""
    model = {name: i for i, name in enumerate(tally.models)}
    question = {name: i for i, name in enumerate(tally.questions)}
    weights = [game.weight for game in games]
    return (
        np.repeat(np.array([model[g.model] for g in games], dtype=np.intp), weights),
        np.repeat(np.array([question[g.question] for g in games], dtype=np.intp), weights),
        np.repeat(np.array([g.share for g in games], dtype=np.float64), weights),
    )


def _draws(battles: int) -> Iterator[NDArray[np.intp]]:
    """Yield which battles each round draws."""
    random = np.random.RandomState(SEED)
    for _ in range(ROUNDS):
        yield random.choice(battles, battles)
