"""Graded versions of a model: rounded as stated, the same bytes again, whole or not there."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tinymodel import smollm_tokenizer, write_tiny

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")
from crowdselect_core.sample.variants import (  # noqa: E402
    linear_weights,
    round_to_bits,
    write_variants,
)


@pytest.fixture
def model(tmp_path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    folder = write_tiny(tmp_path / "tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(folder.iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_rounding_by_hand() -> None:
    # One group from 0 to 3 with 2 bits: levels 0, 1, 2, 3. With 1 bit: 0 and 3.
    weights = torch.tensor([[0.0, 0.4, 1.6, 3.0]])
    assert round_to_bits(weights, 2, group=4).tolist() == [[0.0, 0.0, 2.0, 3.0]]
    assert round_to_bits(weights, 1, group=4).tolist() == [[0.0, 0.0, 3.0, 3.0]]
    # Two groups have levels of their own; equal weights stay as they are.
    assert round_to_bits(torch.tensor([[0.0, 9.0, 5.0, 5.0]]), 1, group=2).tolist() == [
        [0.0, 9.0, 5.0, 5.0]
    ]


def test_versions_are_rounded_whole_folders(model: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = write_variants(model, smollm_tokenizer(), tmp_path / "out", [None, 3])
    assert [folder.name for folder in folders] == ["smollm2", "smollm2-3bit"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["smollm2", "smollm2-3bit"]
    plain, rounded = (AutoModelForCausalLM.from_pretrained(folder) for folder in folders)
    assert rounded.dtype == torch.bfloat16
    kept = linear_weights(plain)
    for name, weight in linear_weights(rounded).items():
        assert torch.equal(weight, round_to_bits(kept[name], 3).bfloat16())
        assert not torch.equal(weight, kept[name])
        assert all(len(group.unique()) <= 8 for group in weight.reshape(-1, 64)[:20])
    embeddings = [m.get_input_embeddings().weight for m in (plain, rounded, model)]
    assert torch.equal(embeddings[0], embeddings[1])
    assert torch.equal(embeddings[0], embeddings[2])
    assert all(torch.equal(kept[name], w) for name, w in linear_weights(model).items())
    tokenizer = AutoTokenizer.from_pretrained(folders[1])
    assert tokenizer.chat_template == smollm_tokenizer().chat_template


def test_the_same_bytes_again_and_what_is_there_is_kept(model: Any, tmp_path: Path) -> None:
    (first,) = write_variants(model, smollm_tokenizer(), tmp_path / "a", [4])
    (second,) = write_variants(model, smollm_tokenizer(), tmp_path / "b", [4])
    assert digests(first) == digests(second)
    (first / "config.json").write_text("mine")
    write_variants(model, smollm_tokenizer(), tmp_path / "a", [4])
    assert (first / "config.json").read_text() == "mine"
