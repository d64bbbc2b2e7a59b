"""Rows found by their id in other artifacts, and vectors that are not computed again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import EMBEDDINGS, INSTRUCTIONS
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import embeddings
from crowdselect_core.stages.select.row_lookup import RowLookup
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult


def stored(store: Store, name: str, shards: Sequence[dict[str, int]]) -> Artifact:
    frames = [pl.DataFrame({"instruction_id": list(s), "n": list(s.values())}) for s in shards]
    plan = Plan(len(frames), lambda i: ShardResult(frames[i]), cut={})
    return build(store, Spec("numbers", 1, {"name": name}), plan)


def test_rows_are_found_wherever_they_lie_and_the_first_artifact_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    new = stored(store, "new", [{"c": 30, "x": 9}])
    old = stored(store, "old", [{"a": 1}, {}, {"b": 2, "c": 3}, {"d": 4}])
    found = RowLookup([new, old]).of(pl.Series(["d", "a", "c", "nobody"]))
    assert found is not None
    assert dict(found.iter_rows()) == {"d": 4, "a": 1, "c": 30}
    assert RowLookup([old]).of(pl.Series(["nobody"])) is None
    assert RowLookup([]).of(pl.Series(["a"])) is None


class Counted:
    """An embedder that notes what it was asked for."""

    width = 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(t), sum(map(ord, t)) % 97] for t in texts], dtype=np.float32)


def test_a_text_that_was_embedded_keeps_its_vector_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Counted()
    monkeypatch.setattr(embeddings, "load_model", lambda _: model)
    monkeypatch.setattr(embeddings, "model_identity", lambda *_: {"sha256": "0"})
    data = tmp_path / "data.jsonl"
    store = Store(str(tmp_path / "store"))

    def embedded(texts: dict[str, str], earlier: Sequence[Ref] = (), where: str = "") -> Ref:
        data.write_text(
            "".join(f'{{"id": "{i}", "instruction": "{t}"}}\n' for i, t in texts.items())
        )
        config = SelectConfig(
            dataset=DatasetConfig(path=str(data)), crowd=[], reward_models=[],
            embedder=EmbedderConfig(kind="sentence-transformers", model="m"),
            store=store.place.root,
        )  # fmt: skip
        there = Store(str(tmp_path / where)) if where else store
        run = InProcess(there)
        return run(EMBEDDINGS, config, run(INSTRUCTIONS, config), None, earlier)

    first = embedded({"a": "one", "b": "two"})
    assert model.asked == ["one", "two"]
    model.asked.clear()
    changed = {"c": "three", "b": "2", "a": "one"}  # b has another text under its id
    second = embedded(changed, [first])
    assert model.asked == ["three", "2"]
    whole = embedded(changed, where="other")
    assert second.key == whole.key
    ours, theirs = second.open(store), whole.open(Store(str(tmp_path / "other")))
    assert ours.manifest == theirs.manifest  # to the byte what a run of its own gives

    # By another model nothing is carried over, whatever the width of its vectors.
    monkeypatch.setattr(embeddings, "model_identity", lambda *_: {"sha256": "1"})
    model.asked.clear()
    embedded(changed, [first, second])
    assert model.asked == ["three", "2", "one"]
