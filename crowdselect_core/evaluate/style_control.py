"""Win rates of Arena-Hard if the answers were alike in length and Markdown.

Bradley-Terry with style: logit P(the model wins) = strength + slopes . x, where x is how the
model's answer differs from the baseline's in tokens, headers, lists and bold, standardised over
the battles; one fit for all models. At x = 0 a model's win rate is 1 / (1 + exp(-strength)).

v0.1 (0489bf3): x = (m - b) / (m + b + 1); standard deviation with ddof 0; scikit-learn's logistic
regression with C = 1, every battle twice, a tie as a win and a loss.
v2 (196f6b8): tokens (m - b) / (m + b); of the Markdown its densities per token, (m - b) /
(m + b + 1); ddof 1; no penalty.

Array names carry their shape: R rounds, Q questions, M models, K style features, P = M + K.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from crowdselect_core.evaluate import bootstrap, newton
from crowdselect_core.evaluate.arena_rows import Version
from crowdselect_core.evaluate.bootstrap import Floats
from crowdselect_core.evaluate.style import FEATURES, Style
from crowdselect_core.evaluate.tally import Tally

CHUNK = 32  # rounds that are fitted at a time, for the memory's sake
SCALE = math.log(10)  # v0.1 measures strength in powers of 10
VANISHING = 1e-4  # a penalty that keeps v2's fit finite where a model wins every battle

Rounds = Iterable[tuple[Floats, Floats]]  # total_RQM and weight_RQM, a chunk of rounds at a time


@dataclass(frozen=True)
class Design:
    """The battles of a group, ready to be fitted.

    Args:
        version: of the benchmark.
        tally: the battles; its value is the model's share of the wins.
        style_QMK: how the answers differ, standardised.
    """

    version: Version
    tally: Tally
    style_QMK: Floats

    @classmethod
    def of(cls, version: Version, tally: Tally, style: Style, baseline: str) -> "Design":
        """Lay out the differences in style of every answer that was compared."""
        none = (0.0,) * len(FEATURES)
        own_QMK = np.array(
            [[style.counts.get((m, q), none) for m in tally.models] for q in tally.questions]
        )
        other_QMK = np.array([[style.counts.get((baseline, q), none)] for q in tally.questions])
        if version == "v0.1":
            raw_QMK, ddof = (own_QMK - other_QMK) / (own_QMK + other_QMK + 1), 0
        else:
            raw_QMK, ddof = _densities(own_QMK, other_QMK), 1
        return cls(version, tally, _standardised(raw_QMK, tally.weight_QM, ddof))

    def strengths(self) -> Floats:
        """Return the coefficients of all battles: strengths in logits, then slopes."""
        models, slopes = len(self.tally.models), self.style_QMK.shape[2]
        if self.version == "v0.1":
            return self._as_official()
        whole = self.tally.total_QM[None], self.tally.weight_QM[None]
        return self._fit(np.zeros(models + slopes), *whole).reshape(-1)

    def known(self, start_P: Floats) -> Floats:
        """Return the strengths alone; NaN where a model has no battle, whatever was fitted."""
        strength_M = start_P[: len(self.tally.models)]
        return np.where(self.tally.weight_QM.any(axis=0), strength_M, np.nan)

    def resampled(self, start_P: Floats, rounds: Rounds) -> Floats:
        """Return every round's strengths in logits; NaN where a model has no battle.

        Args:
            start_P: what `strengths` gave.
            rounds: the battles of each.
        """
        fitted = []
        for total_RQM, weight_RQM in rounds:
            strength_RM = self._fit(start_P, total_RQM, weight_RQM)[:, : len(self.tally.models)]
            strength_RM[weight_RQM.sum(axis=1) == 0] = np.nan
            fitted.append(strength_RM)
        return np.concatenate(fitted)

    def by_question(self, seed: int) -> Iterator[tuple[Floats, Floats]]:
        """Yield the rounds of a bootstrap over questions."""
        counts_RQ = bootstrap.draws(len(self.tally.questions), seed=seed)
        for at in range(0, len(counts_RQ), CHUNK):
            drawn_RQM = counts_RQ[at : at + CHUNK, :, None]
            yield drawn_RQM * self.tally.total_QM, drawn_RQM * self.tally.weight_QM

    def _fit(self, start_P: Floats, total_RQM: Floats, weight_RQM: Floats) -> Floats:
        models, slopes = len(self.tally.models), self.style_QMK.shape[2]
        penalty_PP = VANISHING * np.eye(models + slopes)
        twice = 1.0
        if self.version == "v0.1":
            # Theirs is on the strengths and the baseline's alike, of which ours are differences:
            # the baseline's that costs least leaves u'u - (sum u)^2 / (M + 1), u = ours / SCALE.
            shared_MM = np.full((models, models), 1 / (models + 1))
            penalty_PP = np.eye(models + slopes)
            penalty_PP[:models, :models] = (np.eye(models) - shared_MM) / SCALE**2
            twice = 2.0
        problem = newton.Problem(twice * total_RQM, twice * weight_RQM, self.style_QMK, penalty_PP)
        return newton.fit(problem, start_P)

    def _as_official(self) -> Floats:
        """Fit all battles as v0.1's script does, to where lbfgs stops at its default tolerance.

        The optimum itself is up to 0.01 per cent off the published digits.
        """
        from sklearn.linear_model import LogisticRegression

        question, model = np.nonzero(self.tally.weight_QM)
        models = len(self.tally.models)
        design_NP = np.zeros((len(question), 1 + models))
        design_NP[:, 0] = SCALE  # the baseline, whose win is the label 1
        design_NP[np.arange(len(question)), 1 + model] = -SCALE
        design_NP = np.hstack([design_NP, -self.style_QMK[question, model]])
        lost_N = 2 * self.tally.total_QM[question, model]
        won_N = 2 * self.tally.weight_QM[question, model] - lost_N
        fitted = LogisticRegression(fit_intercept=False, max_iter=1_000).fit(
            np.vstack([design_NP, design_NP]),
            np.repeat([1, 0], len(question)),
            sample_weight=np.concatenate([won_N, lost_N]),
        )
        coefficients = fitted.coef_[0]
        strength_M = SCALE * (coefficients[1 : 1 + models] - coefficients[0])
        return np.concatenate([strength_M, coefficients[1 + models :]])


def estimate(design: Design, seed: int) -> tuple[Floats, tuple[Floats, Floats]]:
    """Return the win rates in per cent and their 95 % intervals over questions."""
    start_P = design.strengths()
    low_M, high_M = bootstrap.interval(design.resampled(start_P, design.by_question(seed)))
    return percent(design.known(start_P)), (percent(low_M), percent(high_M))


def percent(strength_M: Floats) -> Floats:
    """Return the win rates of strengths, in per cent."""
    return 100 * newton.logistic(strength_M)


def _densities(own_QMK: Floats, other_QMK: Floats) -> Floats:
    """Return v2's differences: of tokens, and of Markdown per token."""
    own_QM1, other_QM1 = own_QMK[..., :1], other_QMK[..., :1]
    tokens_QM1 = (own_QM1 - other_QM1) / np.maximum(own_QM1 + other_QM1, 1)
    own_QML = own_QMK[..., 1:] / np.maximum(own_QM1, 1)
    other_QML = other_QMK[..., 1:] / np.maximum(other_QM1, 1)
    markdown_QML = (own_QML - other_QML) / (own_QML + other_QML + 1)
    return np.concatenate([tokens_QM1, markdown_QML], axis=2)


def _standardised(raw_QMK: Floats, weight_QM: Floats, ddof: int) -> Floats:
    """Subtract the mean over the battles and divide by their standard deviation.

    A feature in which no answer differs from the others is 0 everywhere.
    """
    weight_QM1, battles = weight_QM[:, :, None], weight_QM.sum()
    mean_K = (raw_QMK * weight_QM1).sum(axis=(0, 1)) / max(battles, 1)
    centred_QMK = raw_QMK - mean_K
    squares_K = (centred_QMK**2 * weight_QM1).sum(axis=(0, 1))
    deviation_K = np.sqrt(squares_K / max(battles - ddof, 1))
    varies_K = deviation_K > 1e-12
    return np.where(varies_K, centred_QMK / np.where(varies_K, deviation_K, 1.0), 0.0)
