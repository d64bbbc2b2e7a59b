"""Benchmark contamination: what is a match, the prompts of files, and the work it takes."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.errors import ConfigError
from crowdselect_core.quality.benchmark_prompts import BenchmarkPrompt, fingerprint, read_benchmark
from crowdselect_core.quality.decontamination import PromptIndex, overlaps

SHARED = Path(__file__).parents[3].parent / "shared" / "data"

LONG = "Write a short poem about the moon that a child of five would like to hear at night"
NINE = "Name three rivers of France and where they end"
SHORT = "What is love?"


def said(number: int, words: int) -> str:
    """Return words that no other number has."""
    return " ".join(f"v{number}x{i}" for i in range(words))


def test_thirteen_words_in_a_row_are_a_match_and_twelve_are_none() -> None:
    words = LONG.split()
    texts = [
        f"Please: {' '.join(words[2:15]).upper()}!!! Thanks",
        f"Please: {' '.join(words[2:14])}. Thanks",
        f"{' '.join(words[:6])} and {' '.join(words[6:])}",
        LONG,
    ]
    found = {o.text: (o.kind, o.share) for o in overlaps(texts, [LONG])}
    assert found == {0: ("ngram", 1 / 6), 3: ("equal", 1.0)}  # 18 words have 6 13-grams
    assert overlaps(texts, [LONG])[0].shared == " ".join(words[2:15]).lower()


def test_a_prompt_of_eight_to_twelve_words_has_to_be_there_whole() -> None:
    texts = [f"Now, {NINE.lower()}, please", f"Now, {NINE[:-4]} stop", NINE]
    found = overlaps(texts, [NINE])
    assert [(o.text, o.kind, o.share) for o in found] == [(0, "contained", 1.0), (2, "equal", 1.0)]


def test_a_shorter_prompt_has_to_be_the_whole_text() -> None:
    texts = ["what is  LOVE", f"{SHORT} Baby do not hurt me", "", " "]
    assert [(o.text, o.kind) for o in overlaps(texts, [SHORT, ""])] == [(0, "equal")]


def test_a_share_of_a_prompts_ngrams() -> None:
    words = [f"w{i}" for i in range(20)]  # 13 8-grams
    text = " ".join([*words[:13], "else", *words[13:]])  # 6 of them
    assert [o.share for o in overlaps([text], [" ".join(words)], 8)] == [6 / 13]
    assert len(overlaps([text], [" ".join(words)], 8, min_overlap=6 / 13)) == 1
    assert overlaps([text], [" ".join(words)], 8, min_overlap=0.5) == []


def test_the_prompt_that_a_text_shares_most_with_is_named() -> None:
    prompts = [f"{said(1, 20)} {said(2, 30)}", f"{said(1, 20)} {said(3, 2)}", said(1, 20)]
    (found,) = overlaps([f"x {said(1, 20)} y"], prompts)
    assert (found.prompt, found.share) == (2, 1.0)


def test_planted_prompts_are_found_exactly_whatever_the_order_and_the_cut() -> None:
    rng = random.Random(0)
    prompts = [said(i, rng.randint(13, 60)) for i in range(50)]
    texts = [said(1000 + i, rng.randint(5, 80)) for i in range(400)]
    planted = dict(zip(rng.sample(range(400), 50), range(50), strict=True))
    for text, prompt in planted.items():
        texts[text] += f" {prompts[prompt]} {said(9000 + text, 3)}"
    assert {o.text: o.prompt for o in overlaps(texts, prompts)} == planted
    index = PromptIndex(prompts)
    by_parts = [len(index.overlaps(texts[i : i + 7])) for i in range(0, 400, 7)]
    assert sum(by_parts) == 50
    turned = overlaps(texts[::-1], prompts)
    assert {399 - o.text: o.prompt for o in turned} == planted


def test_a_text_of_ten_megabytes_of_one_prompt() -> None:
    (found,) = overlaps([f"{LONG} " * 125_000, "the cat sat"][:1], [LONG, "the cat " * 40])
    assert (found.prompt, found.share, found.kind) == (0, 1.0, "ngram")
    assert overlaps([], [LONG]) == overlaps([LONG], []) == []


def test_every_prompt_of_the_benchmarks_is_found_in_themselves() -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    names = ("mt_bench", "arena_hard_v0.1", "ifeval")
    prompts = [p for name in names for p in read_benchmark(str(SHARED / name))]
    assert len(prompts) == 80 * 2 + 500 + 541
    assert prompts[1].item == "81 turn 2"
    texts = [p.text for p in prompts]
    found = overlaps([f"Hi! {text}\nThanks." for text in texts], texts)
    long = [i for i, text in enumerate(texts) if len(text.split()) >= 20]
    assert {o.text for o in found} >= set(long)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question_id": 81, "turns": ["a", "b"]}, [("81 turn 1", "a"), ("81 turn 2", "b")]),
        ({"uid": "u", "turns": [{"content": "a"}]}, [("u", "a")]),
        ({"uid": "u", "prompt": "a", "category": "c"}, [("u", "a")]),
        ({"key": 1000, "prompt": "a", "kwargs": [{}]}, [("1000", "a")]),
        ({"instruction": "a", "output": "no"}, [("1", "a")]),
        (
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]},
            [("1", "a")],
        ),
    ],
)
def test_layouts_of_prompts(
    tmp_path: Path, row: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    file = tmp_path / "question.jsonl"
    file.write_text(json.dumps(row) + "\n\n", "utf-8")
    found = read_benchmark(str(tmp_path))
    assert [(p.item, p.text) for p in found] == expected
    assert {p.benchmark for p in found} == {tmp_path.name}


def test_text_and_parquet_files(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbffirst one\r\n\r\n second\n")
    pl.DataFrame({"id": [7, 8], "question": ["x", "y"]}).write_parquet(tmp_path / "p.parquet")
    texts = read_benchmark(str(tmp_path / "prompts.txt"))
    assert texts == [
        BenchmarkPrompt("prompts.txt", "1", "first one"),
        BenchmarkPrompt("prompts.txt", "3", "second"),
    ]
    table = read_benchmark(str(tmp_path / "p.parquet"))
    assert [(p.item, p.text) for p in table] == [("7", "x"), ("8", "y")]
    assert fingerprint(texts) != fingerprint(table)


def test_a_json_array_of_objects_or_texts(tmp_path: Path) -> None:
    rows = [{"id": "x", "instruction": "a"}, "b", {"turns": ["c", "d"]}]
    (tmp_path / "prompts.json").write_text(json.dumps(rows, indent=1), "utf-8")
    found = read_benchmark(str(tmp_path / "prompts.json"))
    expected = [("x", "a"), ("2", "b"), ("3 turn 1", "c"), ("3 turn 2", "d")]
    assert [(p.item, p.text) for p in found] == expected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("absent.txt", None, "absent.txt: no such file or folder"),
        ("empty.txt", b" \n", "empty.txt: holds no prompt"),
        ("bad.jsonl", b'{"prompt": "a"}\n{"prom', "bad.jsonl: line 2: is no JSON"),
        ("list.jsonl", b"[1]\n", "list.jsonl: element 1: expected a JSON object"),
        ("cut.json", b'[{"prompt": "a"}', "cut.json: is no whole JSON array"),
        ("other.jsonl", b'{"answer": "a"}\n', "other.jsonl: line 1: has no prompt"),
        ("latin.txt", b"caf\xe9\n", "latin.txt: is not UTF-8 (byte 3)"),
        ("no.parquet", b"PAR1", "no.parquet: cannot be read as parquet"),
    ],
)
def test_what_the_user_can_mend(
    tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_benchmark(str(tmp_path / name))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"without question\.jsonl"):
        read_benchmark(str(tmp_path))
