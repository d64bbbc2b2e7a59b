"""Licences in the model card: what the base's README and the config say, and nothing else."""

import json
from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.export import trained_model
from crowdselect_core.finetune.base_model import SAMPLE, BaseModel
from crowdselect_core.finetune.files import pack
from crowdselect_core.finetune.licenses import answer_licenses, base_license, license_rows
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec


def base(folder: Path, readme: str | None) -> BaseModel:
    folder.mkdir(exist_ok=True)
    if readme is not None:
        (folder / "README.md").write_text(readme)
    return BaseModel("base", "sha256:1", str(folder))


def test_the_licence_of_the_base_is_what_its_readme_says(tmp_path: Path) -> None:
    assert base_license(base(tmp_path / "none", None)) is None
    assert base_license(base(tmp_path / "a", "---\nlicense: mit\ntags: [x]\n---\n# A\n")) == "mit"
    other = "---\nlicense: other\nlicense_name: qwen-research\n---\n"
    assert base_license(base(tmp_path / "b", other)) == "qwen-research"
    for text in (
        "# no front matter\nlicense: mit\n",
        "---\n[\n---\n",
        "---\n- a\n---\n",
        "---\ndate: 2024-13-01\n---\n",
    ):
        assert base_license(base(tmp_path / "c", text)) is None
    assert base_license(BaseModel(SAMPLE, "gguf:1", str(tmp_path))) == "apache-2.0"


def test_the_licences_of_the_answers_that_are_trained_on() -> None:
    crowd = [
        CrowdModel(name=name, family="f", size=1, license=found)
        for name, found in (("a", "apache-2.0"), ("b", None), ("c", "mit"))
    ]
    chosen = pl.DataFrame({"response_model": ["b", "a", "b", None]})
    assert answer_licenses(crowd, chosen) == {"a": "apache-2.0", "b": None}
    pairs = pl.DataFrame({"chosen_model": ["c"], "rejected_model": ["human"]})
    assert answer_licenses(crowd, pairs) == {"c": "mit", "human": None}


def test_lines_of_the_card() -> None:
    told = {"licenses": {"base": None, "answers": {"a": "mit", "b": None}}}
    assert [value for _, value in license_rows(told)] == [
        "not stated in its README.md", "a: mit, b: not stated"
    ]  # fmt: skip
    assert license_rows({}) == []  # a model of an earlier version


RECIPES = {
    "trl": {"base": "sha256:1", "loss": "sft", "peft": None, "train_on": "all"},
    "command": {"base": "sha256:1", "command": "train", "peft": None},
}


@pytest.mark.parametrize("trainer", list(RECIPES))
def test_a_licence_that_was_added_stands_in_the_card_of_a_stored_model(
    trainer: str, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    told = {
        "key": "k", "base_model": "b", "recipe": RECIPES[trainer], "rows": 2, "trained_tokens": 9,
        "rows_sha256": "r", "steps": 1, "first_loss": 2.0, "last_loss": 1.0,
        "licenses": {"base": "mit", "answers": {"a": None, "gone": "cc0-1.0"}},
    }  # fmt: skip
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "model").mkdir(parents=True)
    files = {"model/README.md": "as stored: a is not stated", "model/model.safetensors": "weights",
             "training.parquet": "curve"}  # fmt: skip
    for name, text in files.items():
        (work / name).write_text(text)
    store = Store(str(tmp_path / "store"))
    model = pack(store, Spec("model", 1, {}), work, list(files), {"training": told})
    before = model.manifest

    def write(**licenses: str | None) -> bool:
        return bool(trained_model.write(str(out), model, licenses)["cached"])

    assert not write(a=None)
    card, weights = out / "model" / "README.md", out / "model" / "model.safetensors"
    assert card.read_text() == files["model/README.md"]
    assert write(a=None)
    inode = weights.stat().st_ino
    assert not write(a="apache-2.0", other="mit")
    assert "a: apache-2.0, gone: cc0-1.0" in card.read_text()
    assert weights.stat().st_ino == inode  # it was not written again
    named = json.loads((out / "training.json").read_text())
    assert named["licenses"]["answers"]["a"] == "apache-2.0"
    assert named["files"]["model/README.md"]["bytes"] == card.stat().st_size
    assert write(a="apache-2.0")
    weights.write_text("damage")
    assert not write(a="apache-2.0")
    assert (weights.read_text(), "a: apache-2.0" in card.read_text()) == ("weights", True)
    assert not write(a=None)
    assert card.read_text() == files["model/README.md"]
    assert store.open("model", model.key).manifest == before
