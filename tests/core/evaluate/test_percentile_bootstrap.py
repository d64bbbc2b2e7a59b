"""The closed form of the bootstrap against resampled rows."""

import numpy as np
import pytest

from crowdselect_core.evaluate import bootstrap
from crowdselect_core.evaluate.tally import Part, Tally


def parts(questions: int = 40) -> list[Part]:
    rng = np.random.default_rng(3)
    return [
        Part(model, f"q{q:03d}", float(rng.integers(0, 3)) / 2, float(rng.integers(0, 4)))
        for model in ("a", "b")
        for q in range(questions)
        for _ in range(1 + q % 2)
    ]


def test_a_round_is_the_mean_of_the_rows_it_draws() -> None:
    given = parts()
    tally = Tally.of(given)
    counts_RQ = bootstrap.draws(40, rounds=25, seed=7)
    assert (counts_RQ.sum(axis=1) == 40).all()
    got_RM = bootstrap.ratios(tally.total_QM, tally.weight_QM, counts_RQ)
    for counts_Q, got_M in zip(counts_RQ, got_RM, strict=True):
        drawn = [q for q, n in zip(tally.questions, counts_Q, strict=True) for _ in range(int(n))]
        for model, got in zip(tally.models, got_M, strict=True):
            rows = [p for q in drawn for p in given if (p.model, p.question) == (model, q)]
            expected = sum(p.value * p.weight for p in rows) / sum(p.weight for p in rows)
            assert got == pytest.approx(expected)


def test_the_interval_is_the_middle_of_the_rounds() -> None:
    rounds_RM = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    low_M, high_M = bootstrap.interval(rounds_RM)
    assert (low_M[0], high_M[0]) == (2.5, 97.5)
    assert np.isnan([low_M[1], high_M[1]]).all()


def test_the_width_is_that_of_the_normal_approximation() -> None:
    # 400 questions, half of them won: the standard error is 0.5 / 20, the interval 3.92 of them.
    given = [Part("m", f"q{q}", float(q % 2)) for q in range(400)]
    low_M, high_M = Tally.of(given).bounds(seed=0)
    assert (high_M - low_M)[0] == pytest.approx(3.92 * 0.025, rel=0.1)


def test_rows_of_a_question_go_together() -> None:
    # Ten rows a question say no more than one: the interval is that of the 40 questions.
    one = [Part("m", f"q{q}", float(q % 2)) for q in range(40)]
    ten, single = (np.concatenate(Tally.of(some).bounds(seed=0)) for some in (one * 10, one))
    assert ten == pytest.approx(single)


def test_the_seed_decides() -> None:
    tally = Tally.of(parts())
    assert np.array_equal(tally.bounds(seed=1), tally.bounds(seed=1))
    assert not np.array_equal(tally.bounds(seed=1), tally.bounds(seed=2))
