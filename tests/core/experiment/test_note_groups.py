"""Notes of many cells: a line a kind, with the range of what differs and how many note it."""

import pytest

from crowdselect_core.experiment.made import Made
from crowdselect_core.experiment.note_groups import NUMBER, grouped
from crowdselect_core.stages.refs import Ref

MODEL = Ref(stage="finetuned", key="k", rows=1)


def trained(cell: str, replicate: int, *notes: str) -> Made:
    return Made(cell, replicate, model=MODEL, notes=list(notes))


def long(left_out: int, rows: str, model: str = "smollm2-trained") -> str:
    return f"loss: {left_out} of {rows} rows have more than 512 tokens for {model}"


def test_notes_that_differ_in_numbers_alone_are_one_line() -> None:
    made = [
        trained("crowdselect n=64", 0, long(91, "157")),
        trained("random n=64", 0, long(91, "157")),
        trained("crowdselect n=64", 1, long(103, "1,189")),
        trained("random n=64", 1, long(103, "1,189")),
        trained("crowdselect n=64", 2, long(82, "161")),
        trained("random n=64", 2),
        Made("untuned smollm2", 0),
    ]
    # 5 of 6 evaluations note it, in both cells and in all three replicates
    assert grouped(made) == [
        "loss: 82 to 103 of 157 to 1,189 rows have more than 512 tokens for smollm2-trained "
        "(2 of 2 trained cells, 3 of 3 replicates)"
    ]


def test_cells_and_replicates_are_counted_apart() -> None:
    made = [
        trained("a", 0, "x: 1 of 64 rows overlap"),
        trained("a", 1, "x: 4 of 64 rows overlap"),
        trained("b", 0),
        trained("b", 1),
        trained("b", 2),
    ]
    assert grouped(made) == [
        "x: 1 to 4 of 64 rows overlap (1 of 2 trained cells, 2 of 3 replicates)"
    ]


def test_a_note_of_another_kind_keeps_its_line_and_its_numbers() -> None:
    made = [
        trained("a", 0, "y: nothing was read", long(5, "9"), long(5, "9", "gpt-4.1")),
        trained("a", 1, long(7, "9"), long(7, "9", "gpt-4.2")),
    ]
    all_replicates, once = (
        "(1 of 1 trained cell, 2 of 2 replicates)",
        "(1 of 1 trained cell, 1 of 2 replicates)",
    )
    assert grouped(made) == [
        f"y: nothing was read {once}",
        f"loss: 5 to 7 of 9 rows have more than 512 tokens for smollm2-trained {all_replicates}",
        f"{long(5, '9', 'gpt-4.1')} {once}",
        f"{long(7, '9', 'gpt-4.2')} {once}",
    ]


def test_notes_that_list_ids_are_one_line_with_the_first_of_them() -> None:
    digest = "f3a1c0ffee" * 4
    made = [
        trained("a", 0, "m: no answer to 2 of 80 questions (2 length): 81, 97"),
        trained("a", 1, "m: no answer to 1 of 80 questions (1 length): 97"),
        trained("b", 0, f"m: no answer to 7 of 80 questions (7 length): {digest}, 5, 6 and 4 more"),
        trained("b", 1, "m: no judgment of j for 12 questions: 81, 82, 83, 84, 85, ..."),
    ]  # fmt: skip
    assert grouped(made) == [
        "m: no answer to 1 to 7 of 80 questions (1 to 7 length): 81, 97, f3a1c0ffee..., ... "
        "(2 of 2 trained cells, 2 of 2 replicates)",
        "m: no judgment of j for 12 questions: 81, 82, 83, ... "
        "(1 of 2 trained cells, 1 of 2 replicates)",
    ]


def test_what_a_judge_left_out_is_one_line_for_one_reason() -> None:
    made = [
        trained("a", i, f"j: no verdict on {len(ids)} of 160 games: {', '.join(ids)} (no reply)")
        for i, ids in enumerate([["m on question 81"], ["m on question 90", "m on question 9"]])
    ]
    assert grouped(made) == [
        "j: no verdict on 1 to 2 of 160 games: m on question 81, m on question 90, "
        "m on question 9 (no reply) (1 of 1 trained cell, 2 of 2 replicates)"
    ]


def test_a_reason_that_holds_brackets_is_kept_and_tells_notes_apart() -> None:
    asked = [f"m on question {n}" for n in range(1, 6)]
    slow, withheld = "429: slow down (rpm)", "withheld (finish_reason content_filter)"
    made = [
        trained("a", 0, f"j: no verdict on 5 of 160 games: {', '.join(asked)} ({slow})"),
        trained("a", 1, f"j: no verdict on 1 of 160 games: {asked[0]} ({withheld})"),
    ]
    assert grouped(made) == [
        "j: no verdict on 5 of 160 games: m on question 1, m on question 2, m on question 3, ... "
        f"({slow}) (1 of 1 trained cell, 1 of 2 replicates)",
        f"j: no verdict on 1 of 160 games: m on question 1 ({withheld}) "
        "(1 of 1 trained cell, 1 of 2 replicates)",
    ]


def test_an_evaluation_that_notes_the_same_twice_counts_once() -> None:
    assert grouped([trained("a", 0, "z: 2 rows", "z: 2 rows")]) == [
        "z: 2 rows (1 of 1 trained cell, 1 of 1 replicate)"
    ]


def test_a_range_is_of_values_not_of_words() -> None:
    made = [trained("a", i, f"judge: kappa {k}, first won {w}%") for i, (k, w) in enumerate(
        [("0.61", 9), ("-0.05", 51), ("0.40", 100)]
    )]  # fmt: skip
    assert grouped(made) == [
        "judge: kappa -0.05 to 0.61, first won 9% to 100% (1 of 1 trained cell, 3 of 3 replicates)"
    ]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("13 words, of 8 to 12.", ["13", "8", "12"]),
        ("[-0.020, 0.044] (50 % without a bias)", ["-0.020", "0.044", "50"]),
        ("1,234,567 of 61%", ["1,234,567", "61%"]),
        ("smollm2 gpt-4.1 Llama-3.2-3B v0.1 7B n=64 w=1,-1,1 2026-11-30 12:30 runs/3/x 3e-05", []),
    ],
)
def test_digits_of_names_are_no_numbers(text: str, numbers: list[str]) -> None:
    assert NUMBER.findall(text) == numbers


def test_nothing_noted_is_nothing_said() -> None:
    assert grouped([trained("a", 0), Made("untuned", 0)]) == []
    assert grouped([]) == []
