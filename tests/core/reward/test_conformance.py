"""The conformance check passes a small trained reward model, and finds what is broken in others."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_classifier import write_trained
from transformers import AutoModelForSequenceClassification

from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.planning.reward_check import check_all
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.classifier.inputs import Pair
from crowdselect_core.reward.classifier.scorer import ClassifierScorer
from crowdselect_core.reward.conformance import Report, check_conformance
from crowdselect_core.reward.factory import Resources

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def config(trained: Path) -> ClassifierReward:
    return ClassifierReward(
        kind="classifier", name="small", model=str(trained), max_length=1024, device="cpu"
    )


def failed(report: Report) -> set[str]:
    return {result.name for result in report.results if not result.passed}


def test_a_trained_model_passes(config: ClassifierReward) -> None:
    report = check_conformance("small", ClassifierScorer(config))
    assert report.passed
    assert {r.name for r in report.results} == {
        "batch", "ranking", "padding_side", "pad_token", "template", "bos",
    }  # fmt: skip


class Rounding(ClassifierScorer):
    """Scores that move with the side of the padding, by as much as bfloat16's may."""

    def score_ids(self, rows: Sequence[list[int]], *, left: bool = False) -> list[list[float]]:
        scores = super().score_ids(rows, left=left)
        return [[value + (0.01 if left else 0.0) for value in row] for row in scores]


def test_half_precision_is_judged_by_the_spread_of_real_scores(config: ClassifierReward) -> None:
    half = ClassifierScorer(config.model_copy(update={"dtype": "bfloat16"}))
    assert not half.precise
    assert check_conformance("small", half).passed
    noisy = Rounding(config)
    assert check_conformance("small", noisy, precise=False).passed
    # The same noise is too much where float32 is claimed.
    assert failed(check_conformance("small", noisy, refuse=False)) == {"padding_side"}


def no_mask(model: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    return args, {**kwargs, "attention_mask": None}


def minus_mean(model: Any, args: Any, output: Any) -> Any:
    output.logits = output.logits - output.logits.mean()
    return output


def ignores_mask(model: Any) -> None:
    model.register_forward_pre_hook(no_mask, with_kwargs=True)


def centres_batch(model: Any) -> None:
    model.register_forward_hook(minus_mean)


def reads_another_pad(model: Any) -> None:
    model.config.pad_token_id = 5


def is_negated(model: Any) -> None:
    model.score.weight.data.neg_()


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (ignores_mask, {"padding_side"}),
        (centres_batch, {"batch", "padding_side", "pad_token"}),
        (reads_another_pad, {"batch", "padding_side", "pad_token"}),
        (is_negated, {"ranking"}),
    ],
)
def test_a_broken_model_is_found(
    config: ClassifierReward, spoil: Callable[[Any], None], found: set[str]
) -> None:
    scorer = ClassifierScorer(config)
    spoil(scorer.model)
    report = check_conformance("small", scorer, refuse=False)
    assert failed(report) >= found
    # What is right beside it is not complained of.
    assert not failed(report) & {"template", "bos"}
    with pytest.raises(ConfigError, match=next(iter(found))):
        check_conformance("small", scorer)


class TwoBos(ClassifierScorer):
    def encode(self, item: Item) -> Pair | Score:
        pair = super().encode(item)
        assert isinstance(pair, Pair)
        return Pair(pair.key, [self.tokenizer.bos_token_id, *pair.ids])


class NoTemplate(ClassifierScorer):
    def encode(self, item: Item) -> Pair | Score:
        text = f"{item.messages[0]['content']}\n{item.text}"
        return Pair(item.key, self.tokenizer(text)["input_ids"])


def test_a_second_bos_is_found(config: ClassifierReward) -> None:
    assert failed(check_conformance("small", TwoBos(config), refuse=False)) >= {"bos", "template"}


def test_text_without_the_template_is_found(config: ClassifierReward) -> None:
    report = check_conformance("small", NoTemplate(config), refuse=False)
    assert "template" in failed(report)
    assert "bos" not in failed(report)


class Plain:
    """A scorer of which nothing but its scores can be seen."""

    heads: tuple[str, ...] = ("",)

    def __init__(self, words: Callable[[str], float | None]) -> None:
        self.words = words

    def check(self) -> None: ...

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        for item in items:
            number = self.words(item.text)
            if number is None:
                done(unscored(item.key, "server", "gone", Failure.INFRASTRUCTURE))
            else:
                done(Score(item.key, (number,)))

    def close(self) -> None: ...


def test_other_scorers_are_checked_by_their_scores() -> None:
    # Distinct words over words: 1 for a sentence that repeats none, as rude ones do not either.
    varied = Plain(lambda text: len(set(text.split())) / len(text.split()))
    report = check_conformance("varied", varied, refuse=False)
    assert {r.name for r in report.results} == {"batch", "ranking"}
    assert failed(report) <= {"ranking"}
    constant = check_conformance("constant", Plain(lambda text: 1.0), refuse=False)
    assert failed(constant) == {"ranking"}


def test_length_alone_does_not_rank_the_probes() -> None:
    for sign in (1, -1):
        by_length = Plain(lambda text, sign=sign: float(sign * len(text)))  # type: ignore[misc]
        assert "ranking" in failed(check_conformance("length", by_length, refuse=False))


def test_a_scorer_without_scores_fails_with_its_own_words() -> None:
    with pytest.raises(ConfigError, match="server: gone"):
        check_conformance("gone", Plain(lambda text: None))


def config_with(folder: Path, model: Path, **keys: Any) -> SelectConfig:
    """Return a config whose answers the model is to score."""
    (folder / "data.jsonl").write_text('{"instruction": "Say hello."}')
    engine = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}
    reward = {"kind": "classifier", "name": "small", "model": str(model), "max_length": 1024}
    return SelectConfig.model_validate(
        {
            "dataset": str(folder / "data.jsonl"),
            "crowd": [{"name": "a", "family": "f", "size": 1, "engine": engine}],
            "reward_models": [reward | {"device": "cpu"} | keys],
        }
    ).resolved()


def no_secret(block: str) -> str:
    raise KeyError(block)


def test_every_reward_model_of_a_config_is_checked(trained: Path, tmp_path: Path) -> None:
    lines = list(check_all(config_with(tmp_path, trained), Resources(no_secret)))
    assert len(lines) == 6
    assert all(line.startswith("small: ") and " passed: " in line for line in lines)


def test_a_config_with_a_broken_model_is_refused_unless_overridden(
    trained: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    model = AutoModelForSequenceClassification.from_pretrained(trained)
    with torch.no_grad():
        model.score.weight.neg_()
    model.save_pretrained(broken)
    with pytest.raises(ConfigError, match=r"'small' fails the conformance check: ranking: found"):
        list(check_all(config_with(tmp_path, broken), Resources(no_secret)))
    config = config_with(tmp_path, broken, conformance=False)
    lines = list(check_all(config, Resources(no_secret)))
    assert [line for line in lines if "FAILED" in line] == [
        line for line in lines if line.startswith("small: ranking")
    ]
