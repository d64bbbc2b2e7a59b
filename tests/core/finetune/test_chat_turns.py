"""What is trained: the answers and their ends of turn, nothing else."""

from typing import Any

import pytest
from finetuned import conversation
from tinymodel import smollm_tokenizer

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.finetune.chat_turns import IGNORED, TULU, ChatTurns
from crowdselect_core.finetune.rows import ChatRows, training_rows

pytestmark = pytest.mark.model

SYSTEM = {"role": "system", "content": "Be brief."}
TWO_TURNS = [
    SYSTEM,
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi!\n"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you."},
]


def trained(tokenizer: Any, input_ids: list[int], labels: list[int]) -> list[str]:
    """Decode each run of tokens that are trained."""
    runs: list[list[int]] = [[]]
    for token, label in zip(input_ids, labels, strict=True):
        assert label in (IGNORED, token)
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(token)
    return [tokenizer.decode(run) for run in runs if run]


@pytest.mark.parametrize(
    ("train_on", "expected"),
    [
        ("all", ["Hi!\n<|im_end|>", "See you.<|im_end|>"]),
        ("last", ["See you.<|im_end|>"]),
    ],
)
def test_answers_and_their_ends_of_turn_are_trained(train_on: Any, expected: list[str]) -> None:
    tokenizer = smollm_tokenizer()
    tokens = ChatTurns(tokenizer, train_on).tokens(TWO_TURNS)
    assert trained(tokenizer, tokens.input_ids, tokens.labels) == expected
    whole = tokenizer.apply_chat_template(TWO_TURNS, tokenize=False)
    assert tokenizer.decode(tokens.input_ids) == whole


def test_a_prompt_is_tokenised_as_before_an_answer_is_generated() -> None:
    tokenizer = smollm_tokenizer()
    answer = {"role": "assistant", "content": "\n\nIndented"}  # would merge with the prompt's end
    tokens = ChatTurns(tokenizer).tokens([*TWO_TURNS[:2], answer])
    prompt = tokenizer.apply_chat_template(
        TWO_TURNS[:2], add_generation_prompt=True, return_dict=False
    )
    assert tokens.input_ids[: len(prompt)] == prompt
    assert set(tokens.labels[: len(prompt)]) == {IGNORED}
    assert tokens.labels[len(prompt)] != IGNORED


def test_a_base_without_a_template_gets_tulus() -> None:
    tokenizer = smollm_tokenizer()
    tokenizer.chat_template = None
    tokens = ChatTurns(tokenizer).tokens(TWO_TURNS[1:3])
    assert tokenizer.chat_template == TULU
    assert tokenizer.decode(tokens.input_ids) == "<|user|>\nHello\n<|assistant|>\nHi!\n<|im_end|>\n"
    assert trained(tokenizer, tokens.input_ids, tokens.labels) == ["Hi!\n<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "end-of-turn"),
        ("{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}", "begins"),
        ("{{ raise_exception('system messages are not for me') }}", "not for me"),
    ],
)
def test_a_template_that_cannot_mark_answers_is_refused(template: str, expected: str) -> None:
    tokenizer = smollm_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=expected):
        ChatTurns(tokenizer).tokens(TWO_TURNS)


def rows_of(overflow: str, max_length: int, count: int = 6) -> Any:
    config = TrainingConfig(base_model="x", max_length=max_length, overflow=overflow)  # type: ignore[arg-type]
    chats = ChatRows([str(n) for n in range(count)], [conversation(n) for n in range(count)])
    return training_rows(chats, ChatTurns(smollm_tokenizer()), config)


def test_long_rows_are_cut_or_left_out_and_counted() -> None:
    whole = rows_of("truncate", 512)
    lengths = [len(t.input_ids) for t in whole.tokens]
    assert whole.counts["rows"] == 6
    assert whole.counts["tokens"] == sum(lengths)
    most = sorted(lengths)[3]
    longer = sum(n > most for n in lengths)
    assert 0 < longer < 6

    cut = rows_of("truncate", most)
    assert (cut.truncated, cut.counts["rows"]) == (longer, 6)
    assert [len(t.input_ids) for t in cut.tokens] == [min(n, most) for n in lengths]

    left = rows_of("drop", most)
    assert (left.dropped_long, left.truncated, left.counts["rows"]) == (longer, 0, 6 - longer)


def test_rows_without_a_trained_token_are_left_out_and_too_few_are_an_error() -> None:
    with pytest.raises(DatasetError, match=r"0 of 6 rows .* 6 without an answer"):
        rows_of("truncate", 8)  # the template's own system message alone is longer
    with pytest.raises(DatasetError, match="1 of 1 rows"):
        rows_of("truncate", 512, count=1)


@pytest.mark.parametrize(
    ("rows", "keys", "steps"),
    [
        (10, {"global_batch_size": 4, "num_train_epochs": 3}, 9),  # 4 + 4 + 2 rows, three times
        (10, {"global_batch_size": 4, "per_device_train_batch_size": 4, "num_train_epochs": 3}, 9),
        (8, {"global_batch_size": 4, "num_train_epochs": 0.6}, 2),  # 1.2 steps: the second begins
    ],
)
def test_steps(rows: int, keys: dict[str, Any], steps: int) -> None:
    assert TrainingConfig(base_model="x", **keys).steps(rows) == steps
