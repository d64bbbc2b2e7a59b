"""Many penalised logistic fits at once, by Newton's method.

Each of R fits has the same design, one strength a model and K slopes that all models share, and
its own weights. The Hessian then falls into sums over questions, so no design matrix is built.

Array names carry their shape: R fits, Q questions, M models, K slopes, P = M + K coefficients.
"""

import numpy as np

from crowdselect_core.evaluate.bootstrap import Floats

MOST_STEPS = 100
LONGEST = 3.0  # the largest change of a coefficient in a step: far from the optimum they overshoot
CLOSE = 1e-6  # the last step, in logits; by then each is about the square of the one before


def fit(
    start_P: Floats,
    total_RQM: Floats,
    weight_RQM: Floats,
    style_QMK: Floats,
    penalty_PP: Floats,
) -> Floats:
    """Return the coefficients of each fit: strengths first, then slopes.

    Minimises sum(weight * cross entropy) + b' penalty b / 2 over b.

    Args:
        start_P: where all fits begin.
        total_RQM: weighted shares of wins, between 0 and the weight.
        weight_RQM: weights.
        style_QMK: what the slopes belong to.
        penalty_PP: positive definite, or the data must determine every coefficient.

    Raises:
        ArithmeticError: a fit does not converge.
    """
    rounds, questions, models = total_RQM.shape
    slopes = style_QMK.shape[2]
    style_NK = style_QMK.reshape(questions * models, slopes)
    products_NL = (style_NK[:, :, None] * style_NK[:, None, :]).reshape(len(style_NK), -1)
    beta_RP = np.tile(start_P, (rounds, 1))
    hessian_RPP = np.empty((rounds, models + slopes, models + slopes))
    every = np.arange(models)
    for _ in range(MOST_STEPS):
        tilt_RQM = (beta_RP[:, models:] @ style_NK.T).reshape(rounds, questions, models)
        share_RQM = logistic(beta_RP[:, None, :models] + tilt_RQM)
        left_RQM = total_RQM - weight_RQM * share_RQM
        gradient_RP = np.concatenate(
            [left_RQM.sum(axis=1), left_RQM.reshape(rounds, -1) @ style_NK], axis=1
        )
        gradient_RP -= beta_RP @ penalty_PP
        bend_RQM = weight_RQM * share_RQM * (1 - share_RQM)
        mixed_RMK = np.einsum("rqm,qmk->rmk", bend_RQM, style_QMK, optimize=True)
        hessian_RPP[:] = penalty_PP
        hessian_RPP[:, every, every] += bend_RQM.sum(axis=1)
        hessian_RPP[:, :models, models:] += mixed_RMK
        hessian_RPP[:, models:, :models] += mixed_RMK.transpose(0, 2, 1)
        squares_RL = bend_RQM.reshape(rounds, -1) @ products_NL
        hessian_RPP[:, models:, models:] += squares_RL.reshape(rounds, slopes, slopes)
        step_RP = np.linalg.solve(hessian_RPP, gradient_RP[:, :, None])[:, :, 0]
        longest_R = np.abs(step_RP).max(axis=1, keepdims=True)
        beta_RP += step_RP * np.minimum(1.0, LONGEST / np.maximum(longest_R, LONGEST))
        if longest_R.max() < CLOSE:
            return beta_RP
    raise ArithmeticError(f"style control: no fit after {MOST_STEPS} steps of Newton's method")


def logistic(logits: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)); by tanh, which no x overflows."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)
