"""InsTag's normalisation and sampling, by hand and against a plain restatement."""

import json
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crowdselect_core.annotate.base import Annotation, Annotator, Row
from crowdselect_core.annotate.deita_grades import DeitaAnnotator
from crowdselect_core.annotate.grades import GradeAnnotator
from crowdselect_core.annotate.llm import MOST_RAW
from crowdselect_core.annotate.tags import TagAnnotator, Unreadable, prompt_of, read_tags
from crowdselect_core.chat import Message
from crowdselect_core.config.method_models import DeitaConfig, DirectScoreConfig, InstagConfig
from crowdselect_core.generate.base import Answer, Engine, Request, never
from crowdselect_core.selection.methods.instag import lexical, normalised, sampling_scores


def plain_sampling(tags: list[list[str]], picks: int) -> list[int]:
    """The algorithm as FACTS restates it: sort by tag count, passes from an empty set."""
    left = sorted(range(len(tags)), key=lambda i: -len(tags[i]))
    chosen: list[int] = []
    while len(chosen) < picks:
        covered: set[str] = set()
        for row in list(left):
            if len(chosen) < picks and set(tags[row]) - covered:
                covered |= set(tags[row])
                chosen.append(row)
                left.remove(row)
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_sampling_is_the_published_one(seed: int) -> None:
    rng = random.Random(seed)
    tags = [sorted(rng.sample("abcdefgh", rng.randint(1, 4))) for _ in range(40)]
    scores = sampling_scores(tags, 25)
    order = sorted(range(40), key=lambda i: (-scores[i], i))
    assert order[:25] == plain_sampling(tags, 25)
    assert all(scores[i] <= 0 for i in order[25:])


TAGS = st.lists(st.sampled_from("abcdef"), max_size=4, unique=True)


@given(st.lists(TAGS, max_size=25), st.integers(0, 30))
def test_sampling_takes_the_rows_of_the_plain_passes_in_their_order(
    tags: list[list[str]], picks: int
) -> None:
    """Rows without tags, rows alike, more picks than rows: always the same rows, in one order."""
    tagged = sum(map(bool, tags))
    scores = sampling_scores(tags, picks)
    order = sorted(range(len(tags)), key=lambda i: (-scores[i], i))
    expected = plain_sampling(tags, min(picks, tagged))
    assert order[: len(expected)] == expected
    assert [scores[i] for i in expected] == list(range(len(expected), 0, -1))
    assert all(scores[i] <= 0 for i in order[len(expected) :])


def test_half_of_all_rows_are_sampled_in_time_that_grows_with_them() -> None:
    """Many passes over many waiting rows: each tag of a row is looked at a bounded number of times.

    A scan of all waiting rows in every pass would read 4,000 rows' tags some 2,000 times.
    """
    looked = 0

    class Told(list[str]):
        def __iter__(self) -> Iterator[str]:
            nonlocal looked
            looked += 1
            return super().__iter__()

    rng = random.Random(0)
    tags = [
        Told([f"t{rng.randrange(40)}", f"u{int(rng.paretovariate(1)) % 30}"]) for _ in range(4_000)
    ]
    scores = sampling_scores(tags, 2_000)
    assert sum(score > 0 for score in scores) == 2_000
    assert looked < 20_000


def test_a_pass_ends_with_the_last_new_tag() -> None:
    """20,000 rows of one tag are as many passes; none of them looks at all rows."""
    looked = 0

    class Told(list[str]):
        def __iter__(self) -> Iterator[str]:
            nonlocal looked
            looked += 1
            return super().__iter__()

    scores = sampling_scores([Told(["a"]) for _ in range(20_000)], 2_000)
    assert scores[:2] == [2_000, 1_999]
    assert sum(score > 0 for score in scores) == 2_000
    assert looked < 100_000


def test_sampling_by_hand() -> None:
    """Row 2 has the most tags, row 0 adds x; the second pass takes row 1; row 3 has no tag."""
    tags = [["x"], ["p"], ["p", "q"], []]
    assert sampling_scores(tags, 3) == [2.0, 1.0, 3.0, -1.0]
    assert sampling_scores(tags, 9) == [2.0, 1.0, 3.0, -1.0]
    assert sampling_scores([], 3) == []


def test_tags_become_one_form() -> None:
    assert lexical("Spelling & Grammar_Checks") == "spelling grammar check"
    assert [lexical(t) for t in ("Stories", "classes", "analysis", "business", "--")] == [
        "story", "classe", "analysis", "business", "",
    ]  # fmt: skip


def test_rare_tags_go_and_associated_ones_are_merged() -> None:
    rows = [["Code", "python"]] * 40 + [["code"]] * 10 + [["Code"]] * 20 + [["rare"], None]
    found = normalised(rows, 10)
    assert found[0] == ["code"]  # python stands beside code in all of its 40 rows
    assert found[-2:] == [[], []]
    assert normalised([["a", "b"]] * 39 + [["b"]] * 5, 1)[0] == ["a", "b"]  # support below 40


def test_tags_of_like_meaning_become_the_most_frequent_one() -> None:
    """Cosines: poem and verse 0.96, verse and rhyme 0.96, poem and rhyme 0.85; code is apart."""
    vectors = {"poem": [1.0, 0.0], "verse": [0.96, 0.28], "rhyme": [0.8432, 0.5376], "code": [0, 1]}

    def embed(names: Sequence[str]) -> NDArray[np.float64]:
        return np.array([vectors[name] for name in names], dtype=np.float64) * 3

    rows = [["Poem"], ["verse", "code"], ["verse"], ["rhyme", "poems"], None]
    assert normalised(rows, 1, embed, 0.95) == [["poem"], ["code", "poem"], ["poem"], ["poem"], []]
    apart = normalised(rows, 1, embed, 0.99)
    assert apart == normalised(rows, 1) == [["poem"], ["code", "verse"], ["verse"],
                                            ["poem", "rhyme"], []]  # fmt: skip
    assert normalised([None], 1, embed, 0.95) == [[]]


def test_a_reply_is_a_list_of_tags_or_unreadable() -> None:
    good = '[{"tag": " role  play", "explanation": "x"}, {"tag": "role play", "explanation": ""}]'
    assert read_tags(good) == ["role play"]
    assert read_tags(f"```json\n{good}\n```") == ["role play"]
    assert read_tags(f"```json {good}```") == read_tags(f"```{good}\n```") == ["role play"]
    assert read_tags("[]") == []
    for words in (
        f"Here: {good}", '{"tag": "a"}', '["a"]', '[{"tag": "a"}]', "", '[{"tag": 1}]',
        '[{"tag": "", "explanation": "x"}]', "[" * 5000,
        "```" + " " * 50_000 + "x", "```" + " " * 50_000 + "x```", "```", "````", "``````",
    ):  # fmt: skip
        with pytest.raises(Unreadable):
            read_tags(words)


class Replying:
    """An engine that replies one text to everything."""

    limits: tuple[str, ...] = ()
    stopped = staticmethod(never)

    def __init__(self, text: str, finish_reason: str = "stop") -> None:
        self._text, self._finish_reason = text, finish_reason

    def check(self) -> None:
        """Be there."""

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        for request in requests:
            done(Answer(request.key, self._text, finish_reason=self._finish_reason))

    def close(self) -> None:
        """Hold nothing."""


def annotation(annotator: Annotator) -> Annotation:
    """Return what is said of one row."""
    found: list[Annotation] = []
    row = Row(b"0" * 16, (Message(role="user", content="Hi."),), "Hi.", "Hello.")
    annotator.run(iter([row]), found.append)
    return found[0]


def test_a_long_list_of_tags_is_read_as_a_whole() -> None:
    """Of 100 tags with long explanations all count; the text is kept up to its limit."""
    text = json.dumps([{"tag": f"tag {n}", "explanation": "x" * 100} for n in range(100)])
    said = annotation(TagAnnotator(InstagConfig(), Replying(text)))
    assert said.error is None
    assert said.cell == ([f"tag {n}" for n in range(100)], text[:MOST_RAW])


@pytest.mark.parametrize(
    "annotator",
    [
        lambda engine: TagAnnotator(InstagConfig(), engine),
        lambda engine: GradeAnnotator(DirectScoreConfig(), engine),
        lambda engine: DeitaAnnotator(DeitaConfig(), engine),
    ],
)
def test_an_unreadable_reply_says_whether_it_was_cut(
    annotator: Callable[[Engine], Annotator],
) -> None:
    cut, whole = (annotation(annotator(Replying("[{", end))) for end in ("length", "stop"))
    assert str(cut.error).endswith("; it was cut, raise sampling.max_tokens")
    assert "cut" not in str(whole.error)
    assert cut.cell[-1].startswith("[{")


def test_the_prompt_keeps_the_form_and_fills_in_nothing_twice() -> None:
    text = prompt_of("say {fence} and {instruction}")
    assert "say {fence} and {instruction}\n" in text
    assert text.endswith('[{"tag": "...", "explanation": "..."}]')
