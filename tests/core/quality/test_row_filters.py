"""The gates that look at one row: every rule on a text that breaks it and on one that does not."""

from typing import Any

import pytest

from crowdselect_core.config.quality import QualityConfig
from crowdselect_core.config.row_gates import BrokenGate
from crowdselect_core.config.validation import checked
from crowdselect_core.errors import ConfigError
from crowdselect_core.quality.broken_text import has_open_fence, open_end
from crowdselect_core.quality.language import check_languages
from crowdselect_core.quality.repetition import (
    duplicate_ngram_share,
    duplicate_shares,
    top_ngram_share,
)
from crowdselect_core.quality.row_filters import rules

ENGLISH = "The capital of France is Paris, which lies on the river Seine in the north."
GERMAN = "Die Hauptstadt von Frankreich ist Paris, das im Norden an der Seine liegt."


def why(gate: str, keys: Any, instruction: str, response: str) -> str | None:
    return rules(QualityConfig.model_validate({gate: keys}))[gate](instruction, response)


def test_language() -> None:
    assert why("language", ["en"], ENGLISH, ENGLISH) is None
    assert (why("language", ["en"], ENGLISH, GERMAN) or "").startswith("response in de (")
    assert (why("language", "en", GERMAN, ENGLISH) or "").startswith("instruction in de (")
    assert why("language", ["en", "de"], GERMAN, ENGLISH) is None
    assert why("language", {"languages": ["en"], "of": "response"}, GERMAN, ENGLISH) is None
    code = f"Here is how to say it:\n\n```\n{GERMAN}\n```\n\nThat prints what you asked for."
    assert why("language", ["en"], ENGLISH, code) is None  # code is in no language
    for nothing in ("", "42", "Ja.", "\U0001f600 \u2192"):
        assert why("language", ["en"], ENGLISH, nothing) is None


def test_an_unknown_language_is_refused_and_the_nearest_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown language 'eng', did you mean 'en'"):
        check_languages(["de", "eng"])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"response": {"min_words": 4}}, "response of 3 words, fewer than 4"),
        ({"response": {"min_words": 3, "max_words": 3}}, None),
        ({"response": {"max_words": 2}}, "response of 3 words, more than 2"),
        ({"instruction": {"min_characters": 6}}, "instruction of 5 characters, fewer than 6"),
        ({"instruction": {"max_characters": 5}}, None),
        ({"instruction": {"max_characters": 4}}, "instruction of 5 characters, more than 4"),
    ],
)
def test_length(keys: dict[str, Any], expected: str | None) -> None:
    assert why("length", keys, "Why ?", "One, two; three!") == expected


def test_a_character_of_a_script_without_spaces_is_a_word() -> None:
    assert why("length", {"response": {"min_words": 5}}, "?", "\u5df4\u9ece\u3002") == (
        "response of 2 words, fewer than 5"
    )


@pytest.mark.parametrize(
    "response",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m really sorry, but that is not something to share.",
        "I cannot assist with this request.",
        "I won't directly provide instructions.",
        "Unfortunately, I am not able to browse the web.",
        "As an AI language model, I do not have personal opinions.",
        "I must respectfully decline.",
        "It would be unethical to say more.",
        "That goes against my guidelines.",
        "I apologize, but no.",
        "I cannot and will not provide instructions for that.",
        "I can't and won't write such a story.",
        "I will not, and cannot, help you with this.",
        "I cannot in good conscience write this letter.",
        "I can\u2019t, in good conscience, recommend a dose.",
        "It would be illegal for me to share her address.",
        "It is not appropriate for me to judge that.",
        "It would be unethical to provide such information.",
        "It's not ethical to help with this request.",
        "I cannot recommend any way to do that.",
        "I can't help you cheat.",
    ],
)
def test_a_refusal(response: str) -> None:
    assert why("refusals", True, "Tell me.", response) is not None


@pytest.mark.parametrize(
    "response",
    [
        "Sorry to hear that! Try a warm bath.",
        "If you can't help it, laugh.",
        "As an artificial satellite, Sputnik orbited the Earth.",
        "The cat cannot write. She is a cat.",
        "It is not possible to divide by zero.",
        "It would be illegal to park there: the sign forbids it.",
        "It is inappropriate to wear white to a wedding in many countries.",
        "It would be unethical to publish the data without consent.",
        "It is illegal to provide such information about minors in Germany.",
        "I will not only do the dishes, I will also dry them.",
        "I will not only provide the code but also explain it.",
        "I won't simply give you the result; let us derive it.",
        "I cannot fully answer that without the date, but here is what is known.",
        "I can't help but admire the way she sings.",
        "I can't help laughing at the old tape.",
        "I will not give up, said the knight.",
        "I cannot recommend this book highly enough.",
        "I cannot and will not forget that summer.",
        "x" * 300 + " I cannot help with that.",  # past the characters that are looked at
    ],
)
def test_no_refusal(response: str) -> None:
    assert why("refusals", True, "Tell me.", response) is None


def test_further_patterns_of_refusals() -> None:
    gate = {"patterns": [r"je ne peux pas"], "characters": 40}
    assert why("refusals", gate, "?", "D\u00e9sol\u00e9, JE NE PEUX PAS r\u00e9pondre.") == (
        "JE NE PEUX PAS"
    )
    with pytest.raises(ConfigError, match="is no regular expression"):
        checked(QualityConfig, {"refusals": {"patterns": ["("]}})
    for pattern in ("", "no|", "(?:sorry)?", "$"):
        with pytest.raises(ConfigError, match="matches an empty answer"):
            checked(QualityConfig, {"refusals": {"patterns": ["sorry", pattern]}})


@pytest.mark.parametrize(
    ("instruction", "response", "expected"),
    [
        ("Why?", "Because it is.", None),
        ("Why?\tNow\r\n", "Because.", None),
        ("Why\ufffd", "Because.", "U+FFFD in the instruction"),
        ("Why?", "Be\ufffdcause.", "U+FFFD in the response"),
        ("Why?", "Be\x00cause.", "control character U+0000 in the response"),
        ("Why?", "So:\n```python\nx = 1\n", "code block without an end"),
        ("Why?", "So:\n```python\nx = 1\n```\n", None),
        ("Why?", "First this,", "response ends in ','"),
        ("Why?", "The steps are:  **\n", "response ends in ':'"),
        ("Why?", "See (", "response ends in '('"),
        ("Why?", "A list:\n- one\n---", None),
        ("Why?", "It broke :(", None),
        ("Why?", "It broke :-(", None),
    ],
)
def test_broken_and_unfinished(instruction: str, response: str, expected: str | None) -> None:
    assert why("broken", True, instruction, response) == expected


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("````\n```\n````", False),  # the inner one is text of the block
        ("````\n```\n", True),
        ("~~~\n```\n~~~", False),
        ("```\ncode\n``` not an end", True),
        ("Use ```inline``` code.", False),
        ("```inline``` at the start", False),
        ("    ```\nindented code", False),
    ],
)
def test_code_fences_of_commonmark(text: str, is_open: bool) -> None:
    assert has_open_fence(text) is is_open


def test_rules_of_broken_can_be_turned_off() -> None:
    assert open_end("and,") == ","
    assert why("broken", {"unfinished": False}, "?", "and,") is None


def test_shares_of_repeated_lines_and_ngrams_by_hand() -> None:
    # 4 lines, 2 of them repeat; 3 + 3 of 3 + 3 + 5 + 3 characters
    assert duplicate_shares(["aaa", " aaa", "bbbbb", "", "aaa"]) == (2 / 4, 6 / 14)
    # "a b a b a b c": 13 characters; "a b" stands 3 times: 3 * 3
    assert top_ngram_share(["a", "b", "a", "b", "a", "b", "c"], 2) == pytest.approx(9 / 13)
    assert top_ngram_share(["a", "b", "c", "d"], 2) == 0  # none repeats
    # the second and third "a b" repeat the first: 2 * 3 of 13
    assert duplicate_ngram_share(["a", "b", "a", "b", "a", "b", "c"], 2) == pytest.approx(6 / 13)
    assert duplicate_ngram_share(["a", "b"], 3) == 0


def test_repetition() -> None:
    prose = " ".join(f"word{i} and thing{i}" for i in range(40))
    assert why("repetition", True, "?", prose) is None
    lines = "\n".join(["The same line again."] * 6 + [f"line number {i} is new" for i in range(8)])
    assert why("repetition", True, "?", lines) == "duplicate_lines 0.36"  # 5 of 14
    assert why("repetition", {"min_words": 70}, "?", lines) is None
    looped = " ".join(f"start{i}" for i in range(30)) + " on and on" * 30
    assert (why("repetition", True, "?", looped) or "").startswith("top_2_gram 0.")


def test_texts_of_ten_megabytes() -> None:
    words = " ".join(f"w{i % 9973}" for i in range(1_700_000))
    assert len(words) > 9_000_000
    gates = {"language": ["en"], "length": {"response": {"max_words": 100}}, "refusals": True,
             "broken": True, "repetition": True}  # fmt: skip
    found = {g: r(words, words) for g, r in rules(QualityConfig.model_validate(gates)).items()}
    assert found["length"] == "response of 1,700,000 words, more than 100"
    assert [found[g] for g in ("refusals", "broken", "repetition")] == [None] * 3
    assert has_open_fence("`" * 10_000_000) is True


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "names no gate; expected one or more of language, length"),
        ({"only": True}, "names no gate"),
        ({"length": {}}, "expected a limit"),
        ({"length": {"response": {"min_words": 5, "max_words": 4}}}, "min_words 5 is above"),
        ({"duplicates": {}}, "names no kind"),
        ({"duplicates": ["exact", "nera"]}, "found 'nera', expected kinds of exact"),
        ({"duplicates": {"near": 0.2}}, "greater than or equal to 0.7"),
        ({"refusal": True}, "did you mean 'refusals'"),
        ({"repetition": {"top_ngrams": {0: 0.1}}}, "n-grams of 0 words"),
    ],
)
def test_what_the_user_can_mend(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(QualityConfig, keys)
    assert message in str(caught.value)


def test_short_ways_of_writing_gates() -> None:
    quality = QualityConfig.model_validate(
        {"duplicates": "exact,near", "decontamination": "prompts.txt", "broken": True}
    )
    assert quality.duplicates is not None
    assert (quality.duplicates.near, quality.duplicates.kinds) == (0.8, ["exact", "near"])
    assert quality.decontamination is not None
    assert quality.decontamination.against == ["prompts.txt"]
    assert quality.gates == ["broken", "decontamination", "duplicates"]


@pytest.mark.parametrize("off", [False, "false"])
def test_false_leaves_a_gate_off(off: object) -> None:
    named = QualityConfig(broken=BrokenGate())
    keys = {gate: off for gate in QualityConfig.model_fields if gate not in ("only", "broken")}
    assert checked(QualityConfig, {**keys, "broken": True}) == named
    duplicates = {"exact": True, "near": off, "semantic": off}
    found = checked(QualityConfig, {"duplicates": duplicates}).duplicates
    assert found is not None
    assert found.kinds == ["exact"]
    with pytest.raises(ConfigError, match="names no gate"):
        checked(QualityConfig, {"broken": off})
