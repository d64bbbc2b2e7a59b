"""Win rates controlled for style, against numbers by hand and against scikit-learn."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from judged import board, cells, compared, compared_v2, write_rows
from sklearn.linear_model import LogisticRegression

from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import newton
from crowdselect_core.evaluate.bootstrap import Floats
from crowdselect_core.evaluate.style_control import Design, percent
from crowdselect_core.evaluate.tally import Part, Tally

HEADINGS = {f"h{i}": 0 for i in range(1, 7)}
CONTROLLED = "win_rate_style_controlled"


def answers(model: str, lengths: dict[str, int]) -> list[dict[str, object]]:
    counts = {"header_count": {"h1": 1}, "list_count": {"ordered": 0, "unordered": 2},
              "bold_count": {"**": 0, "__": 0}}  # fmt: skip
    return [
        {"uid": q, "model": model, "metadata": {"token_len": n, **counts}}
        for q, n in lengths.items()
    ]


def test_answers_alike_in_style_have_their_plain_win_rate(tmp_path: Path) -> None:
    rows = [compared_v2("m", f"q{i}", "A>B", "A>>B") for i in range(4)]
    write_rows(tmp_path / "model_judgment" / "judge" / "m.jsonl", rows)
    for model in ("m", "base"):
        alike = answers(model, {f"q{i}": 100 for i in range(4)})
        write_rows(tmp_path / "model_answer" / f"{model}.jsonl", alike)
    found = cells(board(tmp_path, "arena-hard"), "value", "low", "high")
    assert found["win_rate", "m"][0] == 75.0
    assert found[CONTROLLED, "m"] == pytest.approx((75.0, 75.0, 75.0), abs=1e-3)


def test_length_that_wins_is_taken_off(tmp_path: Path) -> None:
    # m wins 9 of 10 where it is longer and 1 of 10 where it is shorter, mostly it is longer.
    rows = [compared_v2("m", f"q{i:02d}", *(("B>A", "A>B") if (i % 10 != 0) == (i < 30) else
                                            ("A>B", "B>A"))) for i in range(40)]  # fmt: skip
    write_rows(tmp_path / "model_judgment" / "judge" / "m.jsonl", rows)
    own = {f"q{i:02d}": 300 if i < 30 else 100 for i in range(40)}
    write_rows(tmp_path / "model_answer" / "m.jsonl", answers("m", own))
    write_rows(tmp_path / "model_answer" / "base.jsonl", answers("base", dict.fromkeys(own, 200)))
    found = cells(board(tmp_path, "arena-hard"), "value")
    assert found["win_rate", "m"] == pytest.approx(70.0)
    # Standardised, x = s (raw - mean) with raw = .2 (30 times) and -1/3 (10): mean 1/15. The fit
    # has the logits of 9/1 and 1/9 there, so 0 on that line lies at logit(.9) (1 - 2 (.2 - 1/15) /
    # (.2 + 1/3)) = 2.1972 / 2.
    assert found[CONTROLLED, "m"] == pytest.approx(100 / (1 + 9**-0.5), abs=0.01)


def design(version: str, models: int = 3) -> Design:
    rng = np.random.default_rng(5)
    parts = [
        Part(f"m{m}", f"q{q:02d}", float(rng.integers(0, 3)) / 2, float(rng.integers(1, 4)))
        for m in range(models)
        for q in range(60)
    ]
    style_QMK = rng.normal(size=(60, models, 4))
    return Design(version, Tally.of(parts), style_QMK)  # type: ignore[arg-type]


def penalised(given: Design, penalty: float) -> Floats:
    """Fit v2's model (a strength each, no baseline) by scikit-learn."""
    questions, models, _ = given.style_QMK.shape
    hot_NM = np.tile(np.eye(models), (questions, 1))
    design_NP = np.hstack([hot_NM, given.style_QMK.reshape(questions * models, -1)])
    won_N = given.tally.total_QM.reshape(-1)
    lost_N = given.tally.weight_QM.reshape(-1) - won_N
    fitted = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(
        np.vstack([design_NP, design_NP]),
        np.repeat([1, 0], len(design_NP)),
        sample_weight=np.concatenate([won_N, lost_N]),
    )
    return np.asarray(fitted.coef_[0])


def test_the_fit_of_v2_is_that_of_scikit_learn() -> None:
    given = design("v2")
    assert given.strengths() == pytest.approx(penalised(given, 1e-4), abs=1e-3)


def test_the_rounds_of_v01_have_the_optimum_that_its_script_approaches() -> None:
    given = design("v0.1")
    once = given.tally.total_QM[None], given.tally.weight_QM[None]
    fitted_RM = given.resampled(np.zeros(7), [once])
    assert percent(fitted_RM[0]) == pytest.approx(percent(given.strengths()[:3]), abs=0.05)


@pytest.mark.parametrize("seed", range(20))
def test_every_fit_comes_to_its_optimum(seed: int) -> None:
    """Few questions, wins on one side alone, style that tells them apart: it lies far out."""
    rng = np.random.default_rng(seed)
    rounds, questions, models = 8, int(rng.integers(1, 30)), int(rng.integers(1, 4))
    style_QMK = rng.normal(size=(questions, models, 4)) * rng.choice([0.1, 1, 5])
    weight_RQM = rng.integers(0, 4, (rounds, questions, models)).astype(float)
    shares = rng.choice([0, 0.5, 1], weight_RQM.shape, p=rng.dirichlet([0.3] * 3))
    penalty_PP = 1e-4 * np.eye(models + 4)
    problem = newton.Problem(weight_RQM * shares, weight_RQM, style_QMK, penalty_PP)
    beta_RP = newton.fit(problem, np.zeros(models + 4))
    gradient_RP, _ = problem.derivatives(beta_RP)
    assert np.abs(gradient_RP).max() < 1e-4


def test_a_round_is_the_fit_of_the_questions_it_draws() -> None:
    given = design("v2", models=2)
    counts_Q = np.random.default_rng(1).multinomial(60, [1 / 60] * 60).astype(float)
    drawn = given.tally.total_QM * counts_Q[:, None], given.tally.weight_QM * counts_Q[:, None]
    tally = Tally(given.tally.models, given.tally.questions, *drawn, n=[0, 0], unparsed=[0, 0])
    expected = Design("v2", tally, given.style_QMK).strengths()[:2]
    got_RM = given.resampled(given.strengths(), [(drawn[0][None], drawn[1][None])])
    assert got_RM[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("version", ["v0.1", "v2"])
@pytest.mark.parametrize("official", [False, True])
def test_a_model_that_wins_everything_or_nothing(
    tmp_path: Path, version: str, official: bool
) -> None:
    row = compared if version == "v0.1" else compared_v2
    rows = {"best": ("B>A", "A>B"), "worst": ("A>B", "B>A"), "mute": (None, None)}
    for model, labels in rows.items():
        write_rows(tmp_path / f"{model}.jsonl", [row(model, f"q{i}", *labels) for i in range(9)])
    names = [*rows, "base"]
    table = pl.DataFrame(
        [
            {"model": m, "question_id": f"q{i}", "token_len": 10 * i + 7 * k, **HEADINGS,
             "ordered": i * k % 5, "unordered": 0, "bold_star": (i + k) % 3, "bold_under": 0}
            for k, m in enumerate(names) for i in range(9)
        ]
    )  # fmt: skip
    table.write_parquet(tmp_path / "style_metadata.parquet")
    found = cells(board(tmp_path, "arena-hard", baseline="base", official=official), "value", "low",
                  "high")  # fmt: skip
    for metric in ("win_rate", CONTROLLED):
        assert found[metric, "best"][0] > 90
        assert found[metric, "worst"][0] < 10
        assert found[metric, "mute"] == (None, None, None)


def test_style_that_is_missing_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "judge" / "m.jsonl", [compared_v2("m", "q1", "A>B", "A>>B")])
    write_rows(tmp_path / "judge" / "model_answer" / "m.jsonl", answers("m", {"q1": 5}))
    found = board(tmp_path / "judge", "arena-hard")
    assert {metric for metric, _ in cells(found, "value")} == {"win_rate"}
    assert any("no token and Markdown counts of 'base' for question q1" in n for n in found.notes)
    with pytest.raises(EvaluationError, match="counts of 'base' for question q1"):
        board(tmp_path / "judge", "arena-hard", style=str(tmp_path / "judge" / "model_answer"))
    with pytest.raises(EvaluationError, match="no such file or folder"):
        board(tmp_path / "judge", "arena-hard", style=str(tmp_path / "nowhere"))


def test_counts_that_are_none_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "m.jsonl", [compared_v2("m", "q1", "A>B", "A>>B")])
    bad = {"uid": "q1", "model": "m", "metadata": {"token_len": "five"}}
    write_rows(tmp_path / "model_answer" / "m.jsonl", [bad])
    with pytest.raises(EvaluationError, match=r"m\.jsonl: line 1: metadata: 'token_len'"):
        board(tmp_path, "arena-hard")
    (tmp_path / "style.parquet").write_bytes(b"PAR1 is no table")
    with pytest.raises(EvaluationError, match=r"style\.parquet: .* expected a parquet table of"):
        board(tmp_path, "arena-hard", style=str(tmp_path / "style.parquet"))
