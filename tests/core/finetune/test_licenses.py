"""Licences in the model card: what the base's README and the config say, and nothing else."""

from pathlib import Path

import polars as pl

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.finetune.base_model import SAMPLE, BaseModel
from crowdselect_core.finetune.licenses import answer_licenses, base_license, license_rows


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
