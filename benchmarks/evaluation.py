"""How fast the intervals of an evaluation are: `python -m benchmarks.evaluation`.

Prints, in one run: the percentile bootstrap of 50 models over 500 questions in closed form, 1,000
rounds, beside a plain loop that draws the questions of every round and adds their rows up (which
gives the same intervals from the same draws); and the style-controlled one. Made verdicts, seed 0.

Array names carry their shape: R rounds, Q questions, M models, K style features.
"""

import time

import numpy as np

from benchmarks.measure import machine, median_seconds, peak_gib
from crowdselect_core.evaluate import bootstrap
from crowdselect_core.evaluate.bootstrap import Floats
from crowdselect_core.evaluate.style_control import Design, estimate
from crowdselect_core.evaluate.tally import Tally
from crowdselect_core.util.single_thread import one_thread

MODELS, QUESTIONS, LOOP_ROUNDS, REPEATS = 50, 500, 20, 5


def made_tally() -> Tally:
    """Make verdicts: two games a question, each of 1 or 3 battles."""
    rng = np.random.default_rng(0)
    shape = QUESTIONS, MODELS
    weight_QM = rng.integers(2, 7, shape).astype(float)
    total_QM = weight_QM * rng.beta(1.0, np.linspace(0.5, 5.0, MODELS), shape)
    models = [f"model-{i:02d}" for i in range(MODELS)]
    questions = [f"q{i:03d}" for i in range(QUESTIONS)]
    return Tally(models, questions, total_QM, weight_QM, [1_000] * MODELS, [0] * MODELS)


def plain_loop(tally: Tally, counts_RQ: Floats) -> Floats:
    """Compute every round from its drawn rows, question after question."""
    results = []
    for counts_Q in counts_RQ:
        total = weight = 0.0
        for question in np.repeat(np.arange(QUESTIONS), counts_Q.astype(int)):
            total = total + tally.total_QM[question]
            weight = weight + tally.weight_QM[question]
        results.append(total / weight)
    return np.array(results)


def main() -> None:
    """Print every figure."""
    print(machine("numpy", "scikit-learn"))
    tally = made_tally()
    size = f"{bootstrap.ROUNDS:,} rounds x {MODELS} models x {QUESTIONS} questions"
    closed = median_seconds(lambda: tally.bounds(seed=0), REPEATS)
    counts_RQ = bootstrap.draws(QUESTIONS)[:LOOP_ROUNDS]
    loop = median_seconds(lambda: plain_loop(tally, counts_RQ), 1) * bootstrap.ROUNDS / LOOP_ROUNDS
    apart = plain_loop(tally, counts_RQ) - bootstrap.ratios(
        tally.total_QM, tally.weight_QM, counts_RQ
    )
    print(
        f"{size}, closed form: {closed:.3f} s (median of {REPEATS})\n"
        f"plain loop: {loop:.1f} s (measured on {LOOP_ROUNDS} rounds, scaled)\n"
        f"ratio: {loop / closed:,.0f}; largest difference: {np.abs(apart).max():.1e}"
    )
    style_QMK = np.random.default_rng(1).normal(size=(QUESTIONS, MODELS, 4))
    with one_thread():
        start, cpu = time.perf_counter(), time.process_time()
        estimate(Design("v0.1", tally, style_QMK), seed=0)
        taken, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"{size}, controlled for style: {taken:.1f} s ({used:.1f} s CPU), {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
