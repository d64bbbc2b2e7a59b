"""A selection on the hub: its card, and an upload to a stand-in for the hub."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from chain import Chosen, choose
from fake_hub import TOKEN, FakeHub, fake_hub
from little import CROWD, KEYS, jsonl, rows
from pydantic import create_model

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.load import load
from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.export import hub_dataset
from crowdselect_core.export.dataset_card import FILE
from crowdselect_core.export.public_config import public_config
from crowdselect_core.export.public_keys import _KEYS, public_keys
from crowdselect_core.report.card import card_of
from flows import cli

LICENSED = [CROWD[0] | {"license": "apache-2.0", "revision": "a09a354"}, *CROWD[1:]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Chosen:
    folder = tmp_path_factory.mktemp("push")
    path = jsonl(folder / "secret-project" / "z.jsonl", rows(30))
    keys = KEYS | {"crowd": LICENSED, "push_to": "org/name"}
    return choose(folder, dataset=str(path), **keys)


@pytest.fixture(scope="module")
def card(made: Chosen) -> str:
    return card_of(made.config, made.store, made.inputs, made.manifest["summary"])


def test_what_the_card_says(made: Chosen, card: str) -> None:
    _, head, body = card.split("---\n", 2)
    told = yaml.safe_load(head)
    assert told["size_categories"] == ["n<1K"]
    assert told["configs"] == [
        {"config_name": "default", "data_files": "train.jsonl"},
        {"config_name": "pairs", "data_files": "pairs.jsonl"},
    ]
    assert "crowdselect" in told["tags"]
    assert "license" not in told  # that of the source and of the answers is not ours to state
    kept = made.selection["response_model"].to_list()
    assert f"| ant-1b | ant | 1 | apache-2.0 | a09a354 | {kept.count('ant-1b')} |" in body
    assert f"| bee-2.5b | bee | 2.5 | not stated |  | {kept.count('bee-2.5b')} |" in body
    assert "| RM-v0.1 | a score column of the source |  |  |" in body
    assert "| rows in | 30 |" in body
    assert "| weights | difficulty 1, separability 1, stability 2 |" in body
    assert "| chosen | 5 |" in body
    assert "with random (" not in body
    assert "The instructions are those of z.jsonl" in body
    assert "python -m flows.select --config config.yaml" in body


def test_the_config_in_the_card_makes_the_same_selection(made: Chosen, card: str) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)\n```", card, re.S)
    told = yaml.safe_load(text)
    assert told["dataset"] == {"path": "z.jsonl"}
    whole = (
        made.config.model_dump(mode="json") | told | {"dataset": {"path": made.config.dataset.path}}
    )
    assert type(made.config).model_validate(whole) == made.config


def test_nothing_of_the_machine_is_published(tmp_path: Path) -> None:
    (tmp_path / "drop.txt").write_text("row-1\n")
    engine = {"kind": "openai", "base_url": "http://inner.host:8000/v1", "model": str(tmp_path),
              "api_key_env": "MY_KEY", "default_headers": {"X-Team": "us"}}  # fmt: skip
    crowd = [CROWD[0] | {"engine": engine, "system_prompt": "our private prompt"}, *CROWD[1:]]
    keys = KEYS | {
        "crowd": crowd,
        "store": str(tmp_path / "s"),
        "exclude": str(tmp_path / "drop.txt"),
        "dataset": str(tmp_path / "a" / "z.jsonl"),
        "push_to": "org/name",
    }
    text = yaml.safe_dump(public_config(load(None, keys, {})))
    for private in (str(tmp_path), "inner.host", "MY_KEY", "X-Team", "private prompt", "org/name"):
        assert private not in text
    assert "exclude: drop.txt" in text
    assert tmp_path.name in text


def test_only_listed_keys_are_published(tmp_path: Path) -> None:
    """Private: texts for a judge, addresses, and whatever key a section gets later."""
    later = create_model("Later", __base__=JudgeReward, note=(str, "")).model_validate(
        {
            "name": "judge", "kind": "judge", "rubric": "PRIVATE {instruction} {answer}",
            "engine": {"kind": "openai", "model": "m", "extra_body": {"x": "PRIVATE"}},
            "scale": [0, 5], "chat_template_kwargs": {"x": "PRIVATE"}, "note": "PRIVATE",
        }
    )  # fmt: skip
    keys = {"executor": {"kind": "ray", "address": "PRIVATE.host:6379"}, "dataset": "z.jsonl",
            "quality": {"refusals": {"patterns": ["PRIVATE"], "characters": 7}}}  # fmt: skip
    config = load(None, KEYS | keys, {})
    told = public_config(config.model_copy(update={"reward_models": [later]}))
    assert "PRIVATE" not in yaml.safe_dump(told)
    assert told["quality"] == {"refusals": {"characters": 7}}
    engine = {"kind": "openai", "model": "m"}
    assert told["reward_models"] == [
        {"name": "judge", "kind": "judge", "engine": engine, "scale": [0.0, 5.0]}
    ]
    unlisted = create_model("Unlisted", __base__=Frozen, note=(str, ""))
    assert public_keys(unlisted) == set()


def test_every_listed_key_exists() -> None:
    for section, keys in _KEYS.items():
        assert set(keys.split()) <= section.model_fields.keys(), section


def test_hostile_names_are_text_in_the_card(tmp_path: Path) -> None:
    name = "a|b`*<script>\n---\n[x](javascript:1)\x1b ```"
    crowd = [CROWD[0] | {"license": name, "family": name}, *CROWD[1:]]
    path = jsonl(tmp_path / "z.jsonl", rows(12))
    made = choose(tmp_path, dataset=str(path), **(KEYS | {"crowd": crowd}))
    card = card_of(made.config, made.store, made.inputs, made.manifest["summary"])
    body = card.split("---\n", 2)[2]
    assert "<script>" not in body.split("## Command")[0]
    row = next(line for line in body.splitlines() if line.startswith("| ant-1b "))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7  # six cells
    fences = re.findall(r"^`{3,}", body, re.M)
    assert len(fences) == 4
    assert fences[2] == fences[3] == "````"
    assert "\x1b" not in card


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        yield hub


def test_the_upload(made: Chosen, card: str, hub: FakeHub, tmp_path: Path) -> None:
    key = made.inputs.selection.key
    place = hub_dataset.upload_selection("org/name", made.config.out, card, key)
    assert place.endswith("org/name")
    (created,) = hub.created
    assert created["type"] == "dataset"
    assert created.get("visibility") == "private" or created["private"]  # by the version
    assert sorted(hub.files) == ["README.md", "pairs.jsonl", "train.jsonl"]
    assert hub.files["train.jsonl"] == (made.out / "train.jsonl").read_bytes()
    assert hub.files["README.md"].decode() == card
    assert hub.messages[0] == f"CrowdSelect selection {key[:16]}"
    assert hub.tokens == {TOKEN}
    hub.files["notes.md"] = b"the owner's"
    out = shutil.copytree(made.out, tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]["pairs.jsonl"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    hub_dataset.upload_selection("org/name", str(out), card, key)
    assert sorted(hub.files) == ["README.md", "notes.md", "train.jsonl"]  # its pairs are gone


def test_what_ends_an_upload_in_one_line(
    made: Chosen, card: str, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, key = shutil.copytree(made.out, tmp_path / "out"), made.inputs.selection.key
    (out / "train.jsonl").write_bytes(b"{}\n")  # of a run that wrote there at the same time
    with pytest.raises(StorageError, match=r"out/train\.jsonl is not the file that its manifest"):
        hub_dataset.upload_selection("org/name", str(out), card, key)
    with pytest.raises(StorageError, match=r"has no manifest\.json of this selection"):
        hub_dataset.upload_selection("org/name", str(out), card, "0" * 64)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["files"]["train.jsonl"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"has no train\.jsonl"):
        hub_dataset.upload_selection("org/name", str(out), card, key)
    monkeypatch.setenv("HF_TOKEN", "another")
    with pytest.raises(ConfigError, match="push_to org/name: the hub answered 401") as e:
        hub_dataset.upload_selection("org/name", made.config.out, card, key)
    assert "another" not in str(e.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ConfigError, match="push_to: set HF_TOKEN"):
        hub_dataset.check()


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"-e '\.\[hub\]'"):
        hub_dataset.check()


def test_pairs_belong_to_an_upload_where_a_row_may_have_them(made: Chosen) -> None:
    config = made.config
    assert config.wants_pairs
    assert not config.model_copy(update={"response": "ant-1b"}).wants_pairs
    assert not config.model_copy(update={"push_to": None}).wants_pairs


def test_a_dry_run_writes_the_card_and_uploads_nothing(
    made: Chosen, card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], hub: FakeHub,
) -> None:  # fmt: skip
    keys = made.config.model_dump(mode="json", exclude_defaults=True)
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(keys))
    assert cli.main(["--config", str(file), "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    assert "upload     to org/name (a new one is private): 5 rows" in out
    assert (made.out / FILE).read_text("utf-8") == card
    assert hub.created == []
    assert cli.main(["--config", str(file), "--dry-run", "--budget", "6"]) == 0
    assert "the card needs the selection" in capsys.readouterr()[0]
    (made.out / FILE).write_text("mine")
    assert cli.main(["--config", str(file), "--dry-run"]) == 2
    assert "holds dataset_card.md" in capsys.readouterr()[1]
    (made.out / FILE).unlink()
