"""A sequence classifier in this process: tokens, padding, cuts, memory, numbers."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from small_classifier import item, pair_ids, scored, write_random
from tinymodel import smollm_tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForSequenceClassification

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.base import Item
from crowdselect_core.reward.classifier.inputs import Pair, last_read
from crowdselect_core.reward.classifier.scorer import ClassifierScorer

pytestmark = pytest.mark.model

TEXTS = ["Bread is flour, water and heat.", "No.", "It rises. " * 40, "Ask a baker.", "Yes, it is."]
SMALL = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("plain"), **SMALL)


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "rm"))


def scorer_of(folder: Path, **keys: Any) -> ClassifierScorer:
    return ClassifierScorer(
        ClassifierReward(
            kind="classifier", name="rm", model=str(folder), **{"max_length": 1024, **keys}
        )
    )


def items(texts: list[str] = TEXTS) -> list[Item]:
    return [item(text, number) for number, text in enumerate(texts)]


def test_scores_are_the_logits_of_each_pair_alone(plain: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(plain)
    tokenizer = smollm_tokenizer()
    with torch.no_grad():
        expected = [
            float(model(torch.tensor([pair_ids(tokenizer, "What is bread?", text)])).logits)
            for text in TEXTS
        ]
    for batch_tokens in (1, 120, 8192):
        got = scored(scorer_of(plain, batch_tokens=batch_tokens), items())
        assert [score.scores[0] for score in got] == pytest.approx(expected, abs=1e-5)
        assert not any(score.truncated or score.error for score in got)
    assert len({round(number, 4) for number in expected}) == len(TEXTS)


def test_items_are_taken_as_they_are_scored(plain: Path) -> None:
    taken, most = 0, 0
    came: list[bytes] = []

    def endless() -> Any:
        nonlocal taken, most
        for number in range(600):
            taken += 1
            most = max(most, taken - len(came))
            yield item(f"Answer {number}.", number)

    scorer_of(plain, batch_tokens=50).run(endless(), lambda score: came.append(score.key))
    assert len(set(came)) == 600
    assert most <= 64 * 50 // 20  # a window of 64 batches of 50 tokens, pairs of 20 and more


def test_a_long_answer_loses_its_end_and_a_long_prompt_has_no_score(plain: Path) -> None:
    whole = pair_ids(smollm_tokenizer(), "What is bread?", TEXTS[2])
    scorer = scorer_of(plain, max_length=60)
    pair = scorer.encode(item(TEXTS[2]))
    assert pair == Pair(item("").key, whole[:60], truncated=True)
    long_prompt = Item(b"p", (Message(role="user", content="Why? " * 60),), "Because.")
    short, cut, none = scored(scorer, [item("No.", 1), item(TEXTS[2], 2), long_prompt])
    assert not short.truncated
    assert cut.truncated
    assert len(cut.scores) == 1
    assert none.scores == ()
    assert none.failure is Failure.ROW
    assert str(none.error).startswith("prompt_too_long: ")


@pytest.mark.parametrize("template_writes_bos", [True, False])
def test_a_pair_begins_with_the_bos_tokens_of_its_template(
    folder: Path, template_writes_bos: bool
) -> None:
    tokenizer = smollm_tokenizer()
    bos = tokenizer.bos_token
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    start = "{{ bos_token }}" if template_writes_bos else ""
    tokenizer.chat_template = start + (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}\n"
        "{% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    scorer = scorer_of(folder)
    assert scorer.tokenizer("hi")["input_ids"][0] == tokenizer.bos_token_id  # adds one by itself
    pair = scorer.encode(item("No."))
    assert isinstance(pair, Pair)
    assert pair.ids.count(tokenizer.bos_token_id) == int(template_writes_bos)


def test_eos_pads_where_nothing_else_does(plain: Path, folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": None}))
    tokenizer = smollm_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    scorer = scorer_of(folder)
    assert scorer.pad_id == tokenizer.eos_token_id == scorer.model.config.pad_token_id
    expected = [score.scores for score in scored(scorer_of(plain), items())]
    got = [score.scores for score in scored(scorer, items())]
    assert [s for (s,) in got] == pytest.approx([s for (s,) in expected], abs=1e-6)


def test_pad_tokens_at_the_end_are_not_what_a_server_pools() -> None:
    assert last_read([5, 2, 6, 2, 2], 2) == [5, 2, 6]
    assert last_read([2, 2], 2) == [2]


def test_a_tokenizer_without_a_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="no chat template"):
        scorer_of(folder)


def test_a_template_that_refuses_a_row_leaves_it_unscored(folder: Path) -> None:
    template = folder / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template.write_text(refusal + template.read_text())
    turns = (Message(role="system", content="Be kind."), Message(role="user", content="Hi"))
    good, bad = scored(scorer_of(folder), [item("No.", 1), Item(b"s", turns, "Hello.")])
    assert good.error is None
    assert bad.error == (
        "chat_template: the reward model's chat template refuses the messages: no system"
    )
    assert bad.failure is Failure.ROW


def test_more_tokens_than_the_model_has_positions_are_refused(plain: Path) -> None:
    with pytest.raises(ConfigError, match=r"reads 2048 tokens at most, found max_length 4096"):
        scorer_of(plain, max_length=4096)


def rows_that_fit(most: int, error: Callable[[], Exception]) -> Callable[..., None]:
    def hook(model: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if len(kwargs["input_ids"]) > most:
            raise error()

    return hook


@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_a_batch_that_does_not_fit_is_halved(plain: Path, error: Callable[[], Exception]) -> None:
    expected = [score.scores[0] for score in scored(scorer_of(plain), items())]
    scorer = scorer_of(plain)
    scorer.model.register_forward_pre_hook(rows_that_fit(1, error), with_kwargs=True)
    got = [score.scores[0] for score in scored(scorer, items())]
    assert got == pytest.approx(expected, abs=1e-5)
    scorer.model.register_forward_pre_hook(rows_that_fit(0, error), with_kwargs=True)
    with pytest.raises(ConfigError, match=r"does not fit.*lower max_length.*batch_tokens"):
        scored(scorer, items())


def test_other_errors_of_the_model_are_not_taken_for_memory(plain: Path) -> None:
    scorer = scorer_of(plain)
    hook = rows_that_fit(0, lambda: RuntimeError("shapes cannot be multiplied"))
    scorer.model.register_forward_pre_hook(hook, with_kwargs=True)
    with pytest.raises(RuntimeError, match="shapes cannot"):
        scored(scorer, items())


def test_a_score_that_is_no_number_is_no_score(plain: Path) -> None:
    scorer = scorer_of(plain)

    def spoil(model: Any, args: Any, output: Any) -> Any:
        output.logits[0] = math.nan
        return output

    scorer.model.register_forward_hook(spoil)
    got = scored(scorer, items())
    longest = got[2]  # comes first into its batch
    assert longest.scores == ()
    assert longest.failure is Failure.ROW
    assert str(longest.error).startswith("not_finite: ")
    assert [len(score.scores) for score in got] == [1, 1, 0, 1, 1]
