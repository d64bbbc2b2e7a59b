"""Which answer is kept: the modes derived by hand, draws that belong to answers, few texts read."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from chain import choose
from little import CROWD, KEYS, NAMES, jsonl, row, rows

from crowdselect_core.config.response_mode import response_mode
from crowdselect_core.errors import ConfigError
from crowdselect_core.selection.response_choice import first_complete, keep, preference

MODELS = ["a", "b", "c", "d", "e", "f", "g"]
NAN = np.nan


class Texts:
    """Answers by (row, model), and a record of those that were read."""

    def __init__(self, complete: np.ndarray) -> None:
        self.complete = complete
        self.read: list[tuple[int, int]] = []

    def __call__(self, asked: Mapping[int, np.ndarray]) -> dict[tuple[int, int], str | None]:
        pairs = [(int(row), model) for model, places in asked.items() for row in places]
        self.read += pairs
        return {p: f"text {p}" for p in pairs if self.complete[p]}


def kept(mode: str | list[str], c_NM: np.ndarray, complete: np.ndarray | None = None, seed: int = 0,
         ids: list[str] | None = None) -> list[str | None]:  # fmt: skip
    """Return the kept model of each row, None where there is none."""
    models = MODELS[: c_NM.shape[1]]
    ids = ids or [f"row-{i}" for i in range(len(c_NM))]
    chosen = response_mode(mode, models)
    order = preference(chosen, c_NM, models, ids, seed)
    texts = Texts(np.ones(c_NM.shape, bool) if complete is None else complete)
    found = keep(chosen, order, texts, ids, seed)
    return [models[i] if i >= 0 else None for i in found]


SCORES = np.array(
    [
        [1.0, 3.0, 2.0],
        [5.0, 5.0, 1.0],  # a tie: the name decides
        [-1.0, NAN, -2.0],
        [NAN, NAN, NAN],
    ]
)


@pytest.mark.parametrize(
    ("mode", "models"),
    [
        ("best", ["b", "a", "a", None]),
        ("c", ["c", "c", "c", "c"]),  # a named model needs no score
        (["a", "c"], ["c", "a", "a", None]),
        (["c", "b"], ["b", "b", "c", None]),
        (["b"], ["b", "b", None, None]),
    ],
)
def test_modes_by_hand(mode: str | list[str], models: list[str | None]) -> None:
    assert kept(mode, SCORES) == models


def test_what_is_not_complete_is_passed_over() -> None:
    complete = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 0], [1, 1, 1]], bool)
    assert kept("best", SCORES, complete) == ["c", "c", None, None]
    assert kept("c", SCORES, complete) == ["c", "c", None, "c"]
    assert kept(["a", "b"], SCORES, complete) == ["a", None, None, None]
    assert kept("random", SCORES, complete)[2] == "b"


def test_the_order_of_preference() -> None:
    mode = response_mode("best", ["a", "b", "c"])
    order = preference(mode, SCORES, ["a", "b", "c"], ["w", "x", "y", "z"], 0)
    assert order.tolist() == [[1, 2, 0], [0, 1, 2], [0, 2, -1], [-1, -1, -1]]


def test_only_the_next_candidates_are_read() -> None:
    """Row 0 is settled by its first, row 1 by its third, row 2 by none of its two."""
    complete = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]], bool)
    order = preference(
        response_mode("best", ["a", "b", "c"]), SCORES, ["a", "b", "c"], list("wxyz"), 0
    )
    texts = Texts(complete)
    assert first_complete(order, texts, 1).tolist() == [[1], [2], [-1], [-1]]
    assert sorted(texts.read) == [(0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (2, 2)]


def test_random_is_uniform_over_the_complete_answers() -> None:
    """6,000 rows, three complete answers of four (one without a score): 2,000 +- 5 sigma each."""
    c_NM = np.tile([9.0, 1.0, NAN, 5.0], (6000, 1))
    complete = np.tile(np.array([True, True, True, False]), (6000, 1))
    counts = Counter(kept("random", c_NM, complete))
    assert set(counts) == {"a", "b", "c"}
    sigma = (6000 * 1 / 3 * 2 / 3) ** 0.5
    assert all(abs(n - 2000) < 5 * sigma for n in counts.values())


def test_random_of_top_5_is_uniform_over_the_five_best() -> None:
    """Of seven answers the best is cut off and one has no score: the other five, 1,200 each."""
    c_NM = np.tile([7.0, 6, 5, NAN, 4, 3, 2], (6000, 1))
    complete = np.tile(np.array([False, True, True, True, True, True, True]), (6000, 1))
    counts = Counter(kept("random-of-top-5", c_NM, complete))
    assert set(counts) == {"b", "c", "e", "f", "g"}
    sigma = (6000 * 1 / 5 * 4 / 5) ** 0.5
    assert all(abs(n - 1200) < 5 * sigma for n in counts.values())
    c_NM[:, 0] = 8
    complete[:, 0] = True
    assert set(kept("random-of-top-5", c_NM, complete)) == {"a", "b", "c", "e", "f"}


def test_random_of_top_5_with_fewer_than_five() -> None:
    c_NM = np.tile([1.0, 2.0, NAN, NAN, NAN, NAN, NAN], (400, 1))
    assert set(kept("random-of-top-5", c_NM)) == {"a", "b"}
    assert set(kept("random-of-top-5", np.full((5, 7), NAN))) == {None}


@pytest.mark.parametrize("mode", ["random", "random-of-top-5"])
def test_a_draw_belongs_to_the_row_and_the_seed(mode: str) -> None:
    rng = np.random.default_rng(0)
    c_NM = rng.normal(size=(300, 7))
    ids = [f"row-{i}" for i in range(300)]
    base = kept(mode, c_NM, ids=ids)
    turned = rng.permutation(300)
    again = kept(mode, c_NM[turned], ids=[ids[i] for i in turned])
    assert again == [base[i] for i in turned]
    other = kept(mode, c_NM, ids=ids, seed=1)
    assert sum(a == b for a, b in zip(base, other, strict=True)) < 150


def test_a_random_draw_of_an_answer_does_not_hang_on_the_others() -> None:
    """Taking a model out of the list moves only the rows that had it."""
    c_NM = np.zeros((500, 4))
    base = kept("random", c_NM)
    complete = np.ones((500, 4), bool)
    complete[:, 3] = False
    without = kept("random", c_NM, complete)
    assert all(w == b for w, b in zip(without, base, strict=True) if b != "d")
    assert sum(w != b for w, b in zip(without, base, strict=True)) == base.count("d") > 0


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("bset", "response 'bset' is neither a mode (best, random, random-of-top-5) nor a crowd "
                 "model, did you mean 'best'? (ant-1b, ant-7b, bee-0.5b, bee-2.5b)"),
        ("ant-7", "did you mean 'ant-7b'?"),
        (["ant-1b", "ant7b"], "response: ant7b is not of the crowd, did you mean 'ant-7b'?"),
        ([], "response: an empty list is not of the crowd"),
    ],
)  # fmt: skip
def test_an_unknown_response(wanted: str | list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        response_mode(wanted, NAMES)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "mode", ["best", "random", "random-of-top-5", "bee-0.5b", ["ant-1b", "bee-2.5b"]]
)
def test_the_order_of_rows_and_of_the_crowd_changes_nothing(
    mode: str | list[str], tmp_path: Path
) -> None:
    table = rows(25)
    keys = {k: v for k, v in KEYS.items() if k != "crowd"} | {"response": mode}
    one = choose(
        tmp_path / "1", dataset=str(jsonl(tmp_path / "1.jsonl", table)), crowd=CROWD, **keys
    )
    turned = [dict(reversed(list(r.items()))) for r in reversed(table)]
    two = choose(
        tmp_path / "2",
        dataset=str(jsonl(tmp_path / "2.jsonl", turned)),
        crowd=CROWD[::-1],
        shard_rows=3,
        **keys,
    )
    assert one.selection.equals(two.selection)
    assert (one.out / "train.jsonl").read_bytes() == (two.out / "train.jsonl").read_bytes()


def test_the_kept_answer_is_the_named_models_own(tmp_path: Path) -> None:
    """Every row says who answered, and the text is that model's."""
    table = rows(25)
    path = str(jsonl(tmp_path / "z.jsonl", table))
    by_id = {r["uuid"]: r for r in table}
    for mode in ("best", "random", "random-of-top-5", "ant-7b", ["ant-1b", "bee-0.5b"]):
        chosen = choose(tmp_path, dataset=path, response=mode, **KEYS | {"budget": 1.0})
        assert chosen.ids
        for one, line in zip(
            chosen.selection.iter_rows(named=True), chosen.lines("train.jsonl"), strict=True
        ):
            source = by_id[one["instruction_id"]]
            answer = source[one["response_model"]]["content"]
            assert one["response"] == answer == line["messages"][1]["content"]
            assert line["messages"][0]["content"] == source["instruction"]
            assert line["messages"] == one["messages"]


def test_eligibility_follows_the_mode(tmp_path: Path) -> None:
    """Row 0 has an answer of ant-1b alone: no row for who wants another model's."""
    table = [row(0, [1, 2, 3, 4], **dict.fromkeys(NAMES[1:], "")), row(1, [1, 2, 3, 4])]
    path = str(jsonl(tmp_path / "z.jsonl", table))
    for mode, reasons in (
        ("best", [None, None]),
        ("random", [None, None]),
        ("ant-1b", [None, None]),
        ("ant-7b", ["no_answer", None]),
        (["ant-7b", "bee-2.5b"], ["no_answer", None]),
    ):
        chosen = choose(tmp_path, dataset=path, response=mode, **KEYS | {"budget": 1.0})
        assert chosen.stored("ranking")["reason"].to_list() == reasons


def test_the_random_baseline_draws_its_answers_too(tmp_path: Path) -> None:
    path = str(jsonl(tmp_path / "z.jsonl", rows(25)))
    keys = KEYS | {"budget": 1.0, "method": "random"}
    drawn = choose(tmp_path / "drawn", dataset=path, **keys)
    assert drawn.config.response_mode == "random"
    assert len(set(drawn.selection["response_model"])) == len(NAMES)
    best = choose(tmp_path / "best", dataset=path, response="best", **keys)
    assert best.ids == drawn.ids
    assert not best.selection["response_model"].equals(drawn.selection["response_model"])
