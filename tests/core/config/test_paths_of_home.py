"""A leading ~ is the home folder, wherever a local path is given."""

from pathlib import Path

import pytest
from little import KEYS, jsonl, rows

from crowdselect_core.config.load import load
from crowdselect_core.errors import ConfigError
from crowdselect_core.planning.inputs import check_no_input
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.store.backend.open import open_backend


def test_a_leading_tilde_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "drop.txt").write_text("row-1\n")
    open_backend("~/x").replace("a", b"1")
    assert (tmp_path / "x" / "a").read_bytes() == b"1"
    assert read_ids("~/drop.txt") == ["row-1"]
    keys = KEYS | {"dataset": "~/d/zoo.jsonl", "store": "~/store", "exclude": "~/drop.txt"}
    config = load(None, keys | {"out": "~"}, {})
    assert config.out == str(tmp_path)
    assert config.store == str(tmp_path / "store")
    assert config.exclude == str(tmp_path / "drop.txt")
    assert config.dataset.path == "~/d/zoo.jsonl"  # as it is given; whoever reads it expands it
    assert load(None, keys | {"out": "s3://b/~/x"}, {}).out == "s3://b/~/x"
    jsonl(tmp_path / "d" / "train.jsonl", rows(3))
    data = keys | {"dataset": "~/d/train.jsonl", "out": "~/d"}
    with pytest.raises(ConfigError, match=r"would replace train\.jsonl, the data set"):
        check_no_input(load(None, data, {}), ["train.jsonl"])
