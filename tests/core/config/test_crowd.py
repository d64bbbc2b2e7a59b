"""Crowd files: what they may hold, in what order it comes out, and what is said of the rest."""

from pathlib import Path

import pytest
import yaml
from little import CROWD

from crowdselect_core.config.crowd import (
    CrowdModel,
    built_in_crowds,
    check_crowd,
    families,
    read_crowd,
)
from crowdselect_core.errors import CrowdError

# arXiv 2503.01836 and the columns of Magpie-Align/Magpie-100K-Generator-Zoo
PAPER = {
    "gemma-2": {"gemma-2-2b-it": 2, "gemma-2-9b-it": 9, "gemma-2-27b-it": 27},
    "llama-3": {"Meta-Llama-3-8B-Instruct": 8, "Meta-Llama-3-70B-Instruct": 70},
    "llama-3.1": {
        "Meta-Llama-3.1-8B-Instruct": 8,
        "Meta-Llama-3.1-70B-Instruct": 70,
        "Meta-Llama-3.1-405B-Instruct": 405,
    },
    "phi-3": {
        "Phi-3-mini-128k-instruct": 3.8,
        "Phi-3-small-128k-instruct": 7,
        "Phi-3-medium-128k-instruct": 14,
    },
    "qwen2": {"Qwen2-1.5B-Instruct": 1.5, "Qwen2-7B-Instruct": 7, "Qwen2-72B-Instruct": 72},
    "qwen2.5": {f"Qwen2.5-{n}B-Instruct": n for n in (3, 7, 14, 32, 72)},
}


def test_the_crowd_of_the_paper() -> None:
    assert built_in_crowds() == ["paper"]
    paper = read_crowd("paper")
    found = {f: {m.name: m.size for m in ms} for f, ms in families(paper.crowd).items()}
    assert found == PAPER
    assert len(paper.crowd) == 19


def test_a_crowd_file(tmp_path: Path) -> None:
    path = tmp_path / "crowd.yaml"
    path.write_text(yaml.safe_dump({"crowd": CROWD[::-1], "reward_models": ["b", "a"]}))
    read = read_crowd(str(path))
    assert [m.model_dump(exclude_unset=True) for m in read.crowd] == CROWD[::-1]
    assert read.reward_models == ["b", "a"]
    assert [m.name for m in check_crowd(read.crowd)] == [m["name"] for m in CROWD]


def test_families_are_in_name_order() -> None:
    models = [CrowdModel(name=n, family=f, size=1) for n, f in ("zb", "ya", "xb", "wa")]
    assert {f: [m.name for m in ms] for f, ms in families(models).items()} == {
        "a": ["w", "y"], "b": ["x", "z"],
    }  # fmt: skip
    assert list(families(models)) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a, b", "cannot be read as YAML"),
        ("a: b: c", "cannot be read as YAML"),
        ("\t- a", "cannot be read as YAML"),
        ("crowd:\n- name: a\n  size: 1\n  size: 2", "key 'size' stands twice, in line 3 and in"),
        ("", "holds nothing, expected a mapping with the key 'crowd'"),
        ("- a\n- b", "holds a list, expected a mapping with the key 'crowd'"),
        ("text", "holds text, expected a mapping"),
        ("reward_models: [r]", "key 'crowd' is missing"),
        ("crowd: []\nreward_model: r", "unknown key 'reward_model', did you mean 'reward_models'?"),
        ("qwen-7b: {family: qwen, size: 7}\nqwen-1b: {size: 1}",
         "maps names of models to their settings (qwen-7b, qwen-1b), expected the key 'crowd' with "
         "a list: crowd: [{name: qwen-7b, family: ..., size: ...}, ...]"),
        ("qwen-7b: {engine: x}\nreward_model: r", "unknown key 'qwen-7b' (known: crowd, reward_"),
        ("crowd: 5", "crowd: Input should be a valid list, found 5"),
        ("crowd: [{name: a, family: f}]", "key 'crowd.0.size' (a) is missing"),
        ("crowd: [{name: a, family: f, size: 7B}]",
         "crowd.0.size (a): Input should be a valid number"),
        ("crowd: [{name: a, family: f, size: .nan}]", "crowd.0.size (a): Input should be a finite"),
        ("crowd: [{name: '', family: f, size: 1}]", "crowd.0.name: String should have at least 1"),
        ("crowd: [{name: a, famly: f, size: 1}]",
         "unknown key 'crowd.0.famly' (a), did you mean 'family'?"),
        ("crowd: [{name: a, family: f, size: 1}, {name: b}]",
         "key 'crowd.1.family' (b) is missing; key 'crowd.1.size' (b) is missing"),
        ("crowd: [{name: 1, family: f, size: 1}]", "crowd.0.name: Input should be a valid string"),
        ("crowd: [{name: a, family: f, size: 1}]\nreward_models: r",
         "reward_models: Input should be a valid list, found 'r'"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_what_a_crowd_file_may_not_hold(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "crowd.yaml"
    path.write_text(text)
    with pytest.raises(CrowdError) as caught:
        read_crowd(str(path))
    message = str(caught.value)
    assert message.startswith(f"crowd file '{path}'")
    assert told in message
    assert "\n" not in message


def test_a_crowd_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CrowdError, match=r"'papers' does not exist .*did you mean 'paper'\?"):
        read_crowd("papers")
    with pytest.raises(CrowdError, match="give a YAML file with the key 'crowd'"):
        read_crowd(str(tmp_path / "missing.yaml"))
    with pytest.raises(CrowdError, match="Is a directory"):
        read_crowd(str(tmp_path))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(CrowdError, match="cannot be read as YAML"):
        read_crowd(str(tmp_path / "binary.yaml"))


def test_an_empty_crowd_and_a_name_that_stands_twice() -> None:
    with pytest.raises(CrowdError, match="the crowd is empty: name at least one model"):
        check_crowd([])
    one = CrowdModel(name="a", family="f", size=1)
    other = CrowdModel(name="a", family="g", size=2)
    with pytest.raises(CrowdError, match=r"crowd: a stand\(s\) twice: give every model one entry"):
        check_crowd([one, CrowdModel(name="b", family="f", size=1), other])
