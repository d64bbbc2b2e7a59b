"""Which reward models are understood, and how the others are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from small_classifier import item, scored, write_random
from tinymodel import smollm_tokenizer
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.reward.classifier.adapters import ARMO_OBJECTIVES
from crowdselect_core.reward.classifier.scorer import ClassifierScorer
from crowdselect_core.reward.conformance import check_conformance

pytestmark = pytest.mark.model

GATED = Path(__file__).with_name("gated_model.py")
SMALL = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 1, "num_key_value_heads": 1,
}  # fmt: skip


def scorer_of(folder: Path, **keys: Any) -> ClassifierScorer:
    return ClassifierScorer(
        ClassifierReward(
            kind="classifier", name="rm", model=str(folder), **{"max_length": 512, **keys}
        )
    )


def change_config(folder: Path, **keys: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("plain"), **SMALL)


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "rm"))


def write_gated(folder: Path, **keys: Any) -> Path:
    """Write a model whose class comes as a file of its folder."""
    from gated_model import LlamaForRewardModelWithGating

    tokenizer = smollm_tokenizer()
    config = LlamaConfig(
        **SMALL, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **keys
    )
    torch.manual_seed(0)
    LlamaForRewardModelWithGating(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(GATED, folder / "modeling_custom.py")
    name = "modeling_custom.LlamaForRewardModelWithGating"
    return change_config(folder, auto_map={"AutoModelForSequenceClassification": name})


def test_a_gated_model_gives_its_score_and_every_objective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "m"))
    folder = write_gated(tmp_path / "armo")
    with pytest.raises(ConfigError, match=r"code of its own repository.*trust_remote_code: true"):
        scorer_of(folder)

    scorer = scorer_of(folder, trust_remote_code=True)
    assert scorer.heads == ("", *ARMO_OBJECTIVES)
    assert len(ARMO_OBJECTIVES) == 19
    items = [item("Bread is baked flour.", 0), item("No.", 1)]
    scores = scored(scorer, items)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    for one, score in zip(items, scores, strict=True):
        pair = scorer.encode(one)
        with torch.no_grad():
            output = model(torch.tensor([pair.ids]))
        expected = [float(output.score), *output.rewards[0].tolist()]
        assert score.scores == pytest.approx(expected, abs=1e-5)
        gates = output.gating_output[0]
        assert score.scores[0] == pytest.approx(float((gates * output.rewards[0]).sum()), abs=1e-5)

    wanted = ["beavertails-is_safe", "helpsteer-coherence"]
    some = scorer_of(folder, trust_remote_code=True, heads=wanted)
    assert some.heads == ("", "helpsteer-coherence", "beavertails-is_safe")
    safe = ARMO_OBJECTIVES.index("beavertails-is_safe")
    assert scored(some, items)[0].scores[2] == pytest.approx(scores[0].scores[1 + safe], abs=1e-6)
    with pytest.raises(ConfigError, match=r"no head 'coherance'.*helpsteer-coherence"):
        scorer_of(folder, trust_remote_code=True, heads=["coherance"])
    report = check_conformance("armo", scorer, refuse=False)
    assert {r.name for r in report.results if not r.passed} <= {"ranking"}  # it is not trained


def test_objectives_are_named_by_the_config_where_it_names_them(tmp_path: Path) -> None:
    folder = write_gated(tmp_path, num_objectives=2, id2label={0: "kind", 1: "true"})
    assert scorer_of(folder, trust_remote_code=True).heads == ("", "kind", "true")


def test_objectives_without_names_are_refused(tmp_path: Path) -> None:
    folder = write_gated(tmp_path, num_objectives=3)
    with pytest.raises(ConfigError, match=r"3 objectives.*id2label"):
        scorer_of(folder, trust_remote_code=True)


def test_two_labels_are_refused(folder: Path) -> None:
    change_config(folder, id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})
    with pytest.raises(ConfigError, match=r"num_labels is 2, expected 1.*kind: function"):
        scorer_of(folder)


def test_an_unknown_architecture_is_refused_by_name(folder: Path) -> None:
    change_config(folder, architectures=["InternLM2ForRewardModel"])
    with pytest.raises(
        ConfigError, match=r"'InternLM2ForRewardModel'.*\*ForSequenceClassification, LlamaForRe"
    ):
        scorer_of(folder)
    change_config(folder, architectures=None)
    with pytest.raises(ConfigError, match="names no architecture"):
        scorer_of(folder)


def test_a_language_model_is_refused(tmp_path: Path) -> None:
    LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"language model.*kind: likelihood or kind: judge"):
        scorer_of(tmp_path)


def test_a_classifier_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    tokenizer = smollm_tokenizer()
    sizes = SMALL | {"vocab_size": len(tokenizer), "pad_token_id": 2}
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    change_config(
        tmp_path, architectures=["LlamaForSequenceClassification"], id2label={"0": "LABEL_0"}
    )
    with pytest.raises(ConfigError, match=r"weights lack score\.weight"):
        scored(scorer_of(tmp_path), [item("Bread.")])


def test_a_wrong_folder_is_one_line(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError) as raised:
            scorer_of(place)
        assert "\n" not in str(raised.value)
        assert str(place) in str(raised.value)


def test_weights_in_pickles_are_not_read(folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="safetensors"):
        scored(scorer_of(folder), [item("Bread.")])
