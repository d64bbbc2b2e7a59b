"""Ids are read once while those of all rows fit into memory, else twice; the table is the same."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.stages.select import instructions
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.build import build

IDS = [f"row-{i % 10}" for i in range(11)]  # the first one again at the end


def look(data: Path, store: str) -> Artifact:
    config = SelectConfig(
        dataset=DatasetConfig(path=str(data)),
        crowd=[CrowdModel(name="m", family="f", size=1)],
        reward_models=["s"],
        store=str(data.parent / store),
        shard_rows=3,
    ).resolved()
    place = Store(config.store)
    return build(place, instructions.spec(config), instructions.plan(config, place))


@pytest.mark.parametrize(
    ("held", "reads"),
    [(1 << 20, 4), (0, 4 + 2 + 4)],  # 4 partitions; without room also the 2 that hold the repeat
)
def test_small_data_sets_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, reads: int
) -> None:
    data = tmp_path / "data.parquet"
    table = pa.table({"id": IDS, "m": [{"s": 1.0} for _ in IDS]})
    pq.write_table(table, data, row_group_size=3)
    expected = look(data, "one")
    seen: list[int] = []
    rows = Dataset.rows

    def noted(self: Dataset, part: object) -> object:
        seen.append(1)
        return rows(self, part)  # type: ignore[arg-type]

    monkeypatch.setattr(Dataset, "rows", noted)
    monkeypatch.setattr(instructions, "HELD", held)
    found = look(data, "other")
    assert len(seen) == reads
    assert found.manifest == expected.manifest
    assert found.frame()["instruction_id"].to_list() == IDS[:10]
