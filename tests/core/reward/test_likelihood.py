"""Pointwise mutual information, held against a direct computation."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tinymodel import smollm_tokenizer, write_tiny

from crowdselect_core.chat import Message
from crowdselect_core.config.reward import LikelihoodReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.base import Item, Score

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")
from crowdselect_core.models.logprobs import sequence_logprobs  # noqa: E402
from crowdselect_core.reward.likelihood import LikelihoodScorer  # noqa: E402

PAIRS = [("What are tides?", "The sea, moved by the moon."), ("Bread?", "Flour."), ("x " * 60, "y")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny", initializer_range=0.2)


def item(question: str, answer: str, system: str | None = None) -> Item:
    first = [Message(role="system", content=system)] if system else []
    key = f"{question}{answer}".encode()[:16].ljust(16, b".")
    return Item(key, (*first, Message(role="user", content=question)), answer)


def scores(model: Path, items: Sequence[Item], **keys: Any) -> dict[bytes, Score]:
    options = {"dtype": "float32", "device": "cpu", **keys}
    config = LikelihoodReward(kind="likelihood", name="pmi", model=str(model), **options)
    found: list[Score] = []
    LikelihoodScorer(config).run(iter(items), found.append)
    assert len(found) == len(items)
    return {score.key: score for score in found}


def by_hand(model: Any, start: str, answer: str, most: int = 10**6) -> float:
    """Mean log softmax of each token of the answer, one forward pass a token."""
    tokenizer = smollm_tokenizer()
    ids = tokenizer(start, add_special_tokens=False)["input_ids"]
    logs = []
    for token in tokenizer(answer, add_special_tokens=False)["input_ids"][:most]:
        with torch.no_grad():
            odds = model(torch.tensor([ids])).logits[0, -1].double()
        logs.append(float(odds[token] - odds.logsumexp(0)))
        ids = [*ids, token]
    return sum(logs) / len(logs)


def chat(system: str, user: str) -> str:
    return (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.fixture(scope="module")
def model(tiny: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny).eval()


def test_pmi_is_the_difference_of_the_mean_log_probabilities(tiny: Path, model: Any) -> None:
    asked = [item(question, answer, "Be brief.") for question, answer in PAIRS]
    found = scores(tiny, asked)
    for one, (question, answer) in zip(asked, PAIRS, strict=True):
        with_it = by_hand(model, chat("Be brief.", question), answer)
        without = by_hand(model, chat("Be brief.", ""), answer)
        (pmi,) = found[one.key].scores
        assert pmi == pytest.approx(with_it - without, abs=2e-5)
        assert abs(pmi) > 1e-3
        assert not found[one.key].truncated


def test_a_score_depends_neither_on_the_batch_nor_on_the_order(tiny: Path) -> None:
    items = [item(question, answer) for question, answer in PAIRS]
    together = scores(tiny, items)
    for found in (scores(tiny, items[::-1]), scores(tiny, items, batch_tokens=1)):
        for key, score in together.items():
            assert found[key].scores == pytest.approx(score.scores, abs=1.1e-5)


def test_an_answer_past_max_length_is_cut_and_told(tiny: Path, model: Any) -> None:
    start = chat("Be brief.", "Bread?")
    room = 4
    length = len(smollm_tokenizer()(start, add_special_tokens=False)["input_ids"]) + room
    cut = item("Bread?", PAIRS[0][1], "Be brief.")
    whole = item("Bread?", "Flour.", "Be brief.")
    long = item("word " * 80, "Yes.", "Be brief.")
    found = scores(tiny, [cut, whole, long], max_length=length)
    assert found[cut.key].truncated
    expected = by_hand(model, start, cut.text, room) - by_hand(
        model, chat("Be brief.", ""), cut.text, room
    )
    assert found[cut.key].scores[0] == pytest.approx(expected, abs=2e-5)
    assert not found[whole.key].truncated
    assert str(found[long.key].error).startswith("prompt_too_long: ")
    assert found[long.key].failure is Failure.ROW
    assert found[long.key].scores == ()


def test_an_answer_without_tokens_has_no_score(tiny: Path) -> None:
    (score,) = scores(tiny, [item("Bread?", "")]).values()
    assert str(score.error).startswith("empty_answer: ")
    assert score.failure is Failure.ROW


def test_a_model_that_overflows_gives_no_score(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    broken = write_tiny(tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data.fill_(1e38)
    model.save_pretrained(broken)
    (score,) = scores(broken, [item(*PAIRS[0])]).values()
    assert str(score.error).startswith("not_finite: ")


def test_log_probability_of_a_text_alone_leaves_its_first_token_out(model: Any) -> None:
    texts = [[5, 6, 7], [9], [8, 4]]
    alone = sequence_logprobs(model, [[], [], []], texts, pad_id=0, batch_tokens=100)
    after = sequence_logprobs(model, [[5], [], [8]], [[6, 7], [9], [4]], pad_id=0, batch_tokens=1)
    assert [one.tokens for one in alone] == [2, 0, 1] == [one.tokens for one in after]
    assert [o.total for o in alone] == pytest.approx([o.total for o in after], abs=1e-4)
    assert alone[0].mean == pytest.approx(alone[0].total / 2)
    assert math.isnan(alone[1].mean)
    # The loss that transformers computes of the whole text, which is minus the mean.
    with torch.no_grad():
        loss = float(model(torch.tensor([texts[0]]), labels=torch.tensor([texts[0]])).loss)
    assert alone[0].mean == pytest.approx(-loss, abs=1e-5)


def test_a_model_without_logits_to_keep_gives_the_same(model: Any) -> None:
    import transformers

    class Plain(transformers.LlamaForCausalLM):  # type: ignore[misc]
        def forward(self, input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
            return super().forward(input_ids=input_ids, attention_mask=attention_mask)

    plain = Plain(model.config)
    plain.load_state_dict(model.state_dict())
    pairs = [[3, 4], [7]], [[5, 6, 7], [9, 9]]
    found, expected = (
        sequence_logprobs(m.eval(), *pairs, pad_id=0, batch_tokens=100) for m in (plain, model)
    )
    assert [o.total for o in found] == pytest.approx([o.total for o in expected], abs=1e-5)


def test_check_needs_no_weights_and_tells_what_is_missing(tiny: Path, tmp_path: Path) -> None:
    def scorer(model: Path) -> LikelihoodScorer:
        return LikelihoodScorer(LikelihoodReward(kind="likelihood", name="pmi", model=str(model)))

    scorer(tiny).check()
    with pytest.raises(ConfigError, match=r"reward model 'pmi': model folder .* does not exist"):
        scorer(tmp_path / "nothing").check()
