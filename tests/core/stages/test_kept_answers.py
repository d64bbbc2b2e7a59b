"""What the chosen rows' answers are read from is opened once, and again when it is another."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain import Chosen, choose
from little import CROWD, REWARD, parquet, rows

from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.select import kept_answers
from crowdselect_core.stages.select.kept_answers import AnswerReader
from crowdselect_core.store.artifacts import Artifact, Store


def chosen(folder: Path, **keys: Any) -> Chosen:
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows(40), row_group_size=10)
    given = {"crowd": CROWD, "reward_models": [REWARD], "export": ["pairs"], "shard_rows": 10}
    return choose(folder, dataset=str(data), **{**given, **keys})


def test_selection_pairs_and_report_open_data_set_and_scores_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen(tmp_path, budget=5)
    for stage in ("selection", "pairs", "comparison"):
        for folder in (tmp_path / "store" / stage).iterdir():
            Store(str(tmp_path / "store")).forget(stage, folder.name)
    kept_answers._readers.clear()
    opened, read, prompts = [], [], []
    open_dataset, shard, prompts_at = kept_answers.open_dataset, Artifact.shard, Dataset.prompts_at
    monkeypatch.setattr(
        kept_answers, "open_dataset", lambda config: opened.append(1) or open_dataset(config)
    )

    def noticed(self: Artifact, index: int, columns: Any = None) -> Any:
        read.append((self.manifest.stage, index))
        return shard(self, index, columns)

    def asked(self: Dataset, part: Any, wanted: Any) -> Any:
        prompts.extend(wanted.tolist())
        return prompts_at(self, part, wanted)

    monkeypatch.setattr(Artifact, "shard", noticed)
    monkeypatch.setattr(Dataset, "prompts_at", asked)
    ids = chosen(tmp_path, budget=5).ids
    assert len(opened) == 1
    # once for the chosen rows, which selection and pairs share, once for the rows of the report
    shards = Counter(index for stage, index in read if stage == "scores")
    assert set(shards) == {0, 1, 2, 3}
    assert max(shards.values()) <= 2
    assert len(prompts) == len(ids) + 3 + 3


def test_of_another_cut_data_set_or_config_it_is_read_anew(tmp_path: Path) -> None:
    first = chosen(tmp_path, budget=5)
    for stage in ("scores", "selection", "pairs"):
        ref = first.inputs.refs()[stage]
        first.store.forget(ref.stage, ref.key)
    again = chosen(tmp_path, budget=5, shard_rows=16)
    assert again.selection.equals(first.selection)
    parquet(tmp_path / "zoo.parquet", rows(40, seed=1))
    changed = chosen(tmp_path, budget=5)
    (tmp_path / "alone").mkdir()
    parquet(tmp_path / "alone" / "zoo.parquet", rows(40, seed=1))
    kept_answers._readers.clear()
    alone = chosen(tmp_path / "alone", budget=5)
    assert changed.selection.equals(alone.selection)
    assert changed.lines("pairs.jsonl") == alone.lines("pairs.jsonl")
    more = chosen(tmp_path, budget=6)
    assert len(more.ids) == 6


def test_rows_that_do_not_stand_at_their_numbers_are_found_by_their_ids(tmp_path: Path) -> None:
    found = chosen(tmp_path, budget=5)
    artifacts = [ref.open(found.store) for ref in (found.inputs.scores, found.inputs.metrics)]
    ids = artifacts[0].frame(["instruction_id"])["instruction_id"][[31, 2, 17]]
    tables = [
        AnswerReader(found.config, *artifacts).of(ids, numbers).rows
        for numbers in (np.array([31, 2, 17]), np.array([2, 31, 17]), np.array([31, 2, 40]), None)
    ]
    assert tables[0]["instruction_id"].equals(ids)
    assert all(table.equals(tables[0]) for table in tables)
