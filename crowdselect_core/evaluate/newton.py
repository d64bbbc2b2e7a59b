"""Many penalised logistic fits at once, by Newton's method.

Each of R fits has the same design, one strength a model and K slopes that all models share, and
its own weights. The Hessian then falls into sums over questions, so no design matrix is built.

Array names carry their shape: R fits, Q questions, M models, K slopes, P = M + K coefficients,
N = Q x M cells, L = K x K.
"""

from dataclasses import dataclass

import numpy as np

from crowdselect_core.evaluate.bootstrap import Floats

MOST_STEPS = 100
LONGEST = 3.0  # the largest change of a coefficient in a step, in logits
OVERSHOT = 0.5  # of the slope at its start: a step that ends on as steep a slope down is halved
CLOSE = 1e-6  # the last step, in logits; by then each is about the square of the one before


@dataclass(frozen=True)
class Problem:
    """What is minimised: sum(weight * cross entropy) + b' penalty b / 2 over b.

    Args:
        total_RQM: weighted shares of wins, between 0 and the weight.
        weight_RQM: weights.
        style_QMK: what the slopes belong to.
        penalty_PP: positive definite, or the data must determine every coefficient.
    """

    total_RQM: Floats
    weight_RQM: Floats
    style_QMK: Floats
    penalty_PP: Floats

    def derivatives(self, beta_RP: Floats) -> tuple[Floats, Floats]:
        """Return the gradient of the penalised log-likelihood, and minus its Hessian."""
        rounds, questions, models = self.total_RQM.shape
        slopes = self.style_QMK.shape[2]
        style_NK = self.style_QMK.reshape(-1, slopes)
        products_NL = (style_NK[:, :, None] * style_NK[:, None, :]).reshape(len(style_NK), -1)
        tilt_RQM = (beta_RP[:, models:] @ style_NK.T).reshape(rounds, questions, models)
        share_RQM = logistic(beta_RP[:, None, :models] + tilt_RQM)
        left_RQM = self.total_RQM - self.weight_RQM * share_RQM
        gradient_RP = np.hstack([left_RQM.sum(axis=1), left_RQM.reshape(rounds, -1) @ style_NK])
        gradient_RP -= beta_RP @ self.penalty_PP
        bend_RQM = self.weight_RQM * share_RQM * (1 - share_RQM)
        mixed_RMK = np.einsum("rqm,qmk->rmk", bend_RQM, self.style_QMK, optimize=True)
        squares_RL = bend_RQM.reshape(rounds, -1) @ products_NL
        hessian_RPP = np.repeat(self.penalty_PP[None], rounds, axis=0)
        every = np.arange(models)
        hessian_RPP[:, every, every] += bend_RQM.sum(axis=1)
        hessian_RPP[:, :models, models:] += mixed_RMK
        hessian_RPP[:, models:, :models] += mixed_RMK.transpose(0, 2, 1)
        hessian_RPP[:, models:, models:] += squares_RL.reshape(rounds, slopes, slopes)
        return gradient_RP, hessian_RPP


def fit(problem: Problem, start_P: Floats) -> Floats:
    """Return the coefficients of each fit: strengths first, then slopes.

    A step that goes far beyond the optimum on its way is halved, so that fits come to an end whose
    optimum lies far out (a model that wins every battle).

    Args:
        problem: what is minimised.
        start_P: where all fits begin.

    Raises:
        ArithmeticError: a fit does not converge.
    """
    beta_RP = np.tile(start_P, (len(problem.total_RQM), 1))
    step_RP = np.zeros_like(beta_RP)
    rise_R1 = np.zeros((len(beta_RP), 1))  # slope of the likelihood along the step, at its start
    for _ in range(MOST_STEPS):
        gradient_RP, hessian_RPP = problem.derivatives(beta_RP)
        too_far_R1 = _along(gradient_RP, step_RP) < -OVERSHOT * rise_R1
        solved_RP1 = np.linalg.solve(hessian_RPP, gradient_RP[:, :, None])
        next_RP = solved_RP1[:, :, 0].astype(np.float64)
        longest_R1 = np.abs(next_RP).max(axis=1, keepdims=True)
        next_RP *= np.minimum(1.0, LONGEST / np.maximum(longest_R1, LONGEST))
        rise_R1 = np.where(too_far_R1, rise_R1 / 2, _along(gradient_RP, next_RP))
        beta_RP += np.where(too_far_R1, -step_RP / 2, next_RP)
        step_RP = np.where(too_far_R1, step_RP / 2, next_RP)
        if np.abs(step_RP).max() < CLOSE:
            return beta_RP
    raise ArithmeticError(f"style control: no fit after {MOST_STEPS} steps of Newton's method")


def logistic(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)); by tanh, which no x overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


def _along(gradient_RP: Floats, step_RP: Floats) -> Floats:
    along_R1: Floats = (gradient_RP * step_RP).sum(axis=1, keepdims=True)
    return along_R1
