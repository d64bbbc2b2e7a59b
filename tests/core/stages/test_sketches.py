"""Sketches that are made in parts find the near-duplicates that all texts together show."""

from pathlib import Path
from typing import Any

import pytest
from little import KEYS, parquet, row

from crowdselect_core.config.load import load
from crowdselect_core.quality.near_duplicates import near_duplicate_groups
from crowdselect_core.stages.base import InProcess
from crowdselect_core.stages.graph import DUPLICATE_GROUPS, INSTRUCTIONS, SKETCHES
from crowdselect_core.stages.quality import duplicate_groups
from crowdselect_core.store.artifacts import Store

TAILS = [" ".join(f"n{i}" for i in range(n)) for n in (1, 2, 6, 10, 11, 12)]
TEXTS = [
    *(f"{base} {base + 1} {base + 2} {base + 3} {tail}" for base in range(4) for tail in TAILS),
    *("!", "a", "A!", "b", "0 1 2 3 n0", "0 1  2 3 N0!"),
]


def groups(folder: Path, **keys: Any) -> tuple[list[str | None], Store]:
    """Return of every row the least id of its group of near-duplicates, null where it is alone."""
    data = folder / "zoo.parquet"
    if not data.exists():
        table = [row(i, [0.0] * 4, instruction=text) for i, text in enumerate(TEXTS)]
        parquet(data, table, row_group_size=5)
    given = KEYS | {"dataset": str(data), "quality": {"duplicates": {"near": 0.8}}}
    config = load(None, given | keys, {})
    run = InProcess(Store(config.store))
    listed = run(INSTRUCTIONS, config)
    made = run(DUPLICATE_GROUPS, config, listed, None, run(SKETCHES, config, listed))
    label = dict(made.open(run.store).frame().select("instruction_id", "near").iter_rows())
    return [label.get(f"row-{i:03d}") for i in range(len(TEXTS))], run.store


def test_groups_of_sketches_in_parts_are_those_of_all_texts(tmp_path: Path) -> None:
    places = near_duplicate_groups(TEXTS).tolist()
    expected = [f"row-{p:03d}" if places.count(p) > 1 else None for p in places]
    assert sum(label is not None for label in expected) > 10
    found, store = groups(tmp_path, store=str(tmp_path / "parts"), shard_rows=10)
    assert found == expected
    assert len(list(Path(store.place.root, "sketches").rglob("*.parquet"))) == 3
    assert groups(tmp_path, store=str(tmp_path / "whole"))[0] == expected


def test_another_threshold_takes_the_same_sketches_and_reads_few_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = duplicate_groups.texts_of

    def noted(*asked: Any) -> dict[int, str]:
        found = real(*asked)
        read.append(len(found))
        return found

    monkeypatch.setattr(duplicate_groups, "texts_of", noted)
    _, store = groups(tmp_path, store=str(tmp_path / "store"))
    places = near_duplicate_groups(TEXTS, 0.95).tolist()
    expected = [f"row-{p:03d}" if places.count(p) > 1 else None for p in places]
    other = {"duplicates": {"near": 0.95}}
    assert groups(tmp_path, store=str(tmp_path / "store"), quality=other)[0] == expected
    assert len(list(Path(store.place.root, "sketches").iterdir())) == 1
    distinct = len({text.lower().strip("!").replace("  ", " ") for text in TEXTS})
    assert all(0 < count < distinct for count in read)  # never those that resemble no other
