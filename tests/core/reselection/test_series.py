"""A series: numbers, the pointer, races, and damage that is never believed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.errors import DamagedArtifact, SelectionError, StorageError
from crowdselect_core.reselection.record import SelectionRecord
from crowdselect_core.reselection.series import Overtaken, Series
from crowdselect_core.reselection.settings import CHOICE, choice
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.checksummed_json import dumps_checksummed

KEY = "0123456789abcdef" * 4
ROLES = [
    "raw", "dataset", "instructions", "scores", "metrics", "answers", "ranking", "selection",
    "comparison",
]  # fmt: skip
RECORD = SelectionRecord(
    mode="refit", base=None, measures={"seed": 0}, config=dict.fromkeys(CHOICE, 5),
    rows={"all": 9, "chosen": 5}, artifacts={role: f"{role}/{KEY}" for role in ROLES},
    references={role: f"{role}/{KEY}" for role in ("metrics", "ranking")},
    parts={role: [f"{role}/{KEY}"] for role in ROLES[3:7]}, zoos=[],
)  # fmt: skip


@pytest.fixture
def series(tmp_path: Path) -> Series:
    return Series(Store(str(tmp_path)), "nightly")


def test_a_series_counts_up_and_points_where_it_is_told(series: Series) -> None:
    assert series.latest() is None
    assert series.numbers() == []
    assert series.add(RECORD, series.seen()) == 1
    assert series.latest() is None  # it moves when everything else is done
    series.point(1)
    second = replace(RECORD, base=1, mode="frozen")
    assert series.add(second, series.seen()) == 2
    series.point(2)
    assert (series.latest(), series.record(2)) == (2, second)
    series.point(1)
    third = replace(RECORD, base=1, rows={"all": 10, "chosen": 5})
    assert series.add(third, series.seen()) == 3  # earlier numbers stay whose they are
    assert series.numbers() == [1, 2, 3]


def test_a_record_of_an_earlier_version_counts_the_tokens_of_rows() -> None:
    earlier: dict[str, Any] = dict.fromkeys(CHOICE, 5)
    assert choice(earlier) == choice({**earlier, "budget_tokens_of": "row"})
    assert choice(earlier) != choice({**earlier, "budget_tokens_of": "answer"})


def test_the_same_selection_is_recorded_once(series: Series) -> None:
    begun = series.seen()
    assert series.add(RECORD, begun) == 1
    assert series.add(RECORD, begun) == 1  # killed before the pointer moved, and run again
    series.point(1)
    assert series.add(RECORD, begun) == 1


@pytest.mark.parametrize("pointed", [False, True])
def test_a_slower_run_is_overtaken_and_does_not_take_the_place(
    series: Series, pointed: bool
) -> None:
    begun = series.seen()
    other = replace(RECORD, rows={"all": 10, "chosen": 5})
    assert series.add(other, begun) == 1
    if pointed:
        series.point(1)
    with pytest.raises(Overtaken):
        series.add(RECORD, begun)
    assert series.add(other, begun) == 1  # the same selection by two runs is one
    assert series.numbers() == [1]


def test_a_rollback_meanwhile_overtakes_too(series: Series) -> None:
    series.add(RECORD, (0, 0))
    series.point(1)
    series.add(replace(RECORD, base=1), (1, 1))
    series.point(2)
    begun = series.seen()
    series.point(1)
    with pytest.raises(Overtaken):
        series.add(replace(RECORD, base=2), begun)


def test_of_two_that_add_at_once_one_is_overtaken(
    series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(RECORD, rows={"all": 10, "chosen": 5})
    series.add(other, (0, 0))
    monkeypatch.setattr(series, "numbers", list)  # what it saw before the other came
    with pytest.raises(Overtaken):
        series.add(RECORD, (0, 0))


def test_the_pointer_stays_where_another_run_has_put_it(series: Series) -> None:
    series.add(RECORD, (0, 0))
    series.point(1)
    begun = series.seen()
    other, ours = (replace(RECORD, base=1, rows={"all": n, "chosen": 5}) for n in (10, 11))
    assert series.add(other, begun) == 2  # and held up before it moves the pointer
    late = series.seen()
    assert series.add(ours, late) == 3
    series.advance(2, begun)
    with pytest.raises(Overtaken, match="selection 2 of series 'nightly' is the latest meanwhile"):
        series.advance(3, late)
    assert series.latest() == 2
    series.advance(2, begun)  # killed after it moved, and run again


def test_an_unknown_number_names_the_known_ones(series: Series) -> None:
    series.add(RECORD, (0, 0))
    with pytest.raises(SelectionError, match=r"no selection 7 \(found: 1\)"):
        series.record(7)


def test_each_flipped_byte_of_a_record_and_of_the_pointer_is_noticed(
    series: Series, tmp_path: Path
) -> None:
    series.add(RECORD, (0, 0))
    series.point(1)
    folder = tmp_path / "selections" / "nightly"
    for name, look in (
        ("000001.json", lambda: series.record(1)),
        ("latest.json", series.latest),
    ):
        whole = (folder / name).read_bytes()
        for at in range(len(whole)):
            for flip in (0x01, 0x20, 0x80):
                data = bytearray(whole)
                data[at] ^= flip
                (folder / name).write_bytes(bytes(data))
                with pytest.raises(StorageError):
                    look()
        (folder / name).write_bytes(whole)


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "selection/../../x", f"selection/{KEY}/..", f"sel\x00/{KEY}", KEY]
)
def test_a_record_that_names_no_artifact_of_the_store_is_refused(name: str) -> None:
    hostile = replace(RECORD, artifacts={**RECORD.artifacts, "ranking": name})
    with pytest.raises(DamagedArtifact, match=r"is no record \(see 'artifacts.ranking'\)"):
        SelectionRecord.decode(hostile.encode())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"artifacts": {k: v for k, v in RECORD.artifacts.items() if k != "raw"}}, "has no art"),
        ({"artifacts": {**RECORD.artifacts, "other": f"other/{KEY}"}}, "has no artifact"),
        ({"rows": {"all": 9}}, "has no artifact or count"),
        ({"rows": {"all": "9", "chosen": 5}}, "see 'rows.all'"),
        ({"measures": ["seed"]}, "see 'measures'"),
        ({"parts": {"scores": f"scores/{KEY}"}}, "see 'parts.scores'"),
        ({"zoos": None}, "see 'zoos'"),
        ({"mode": "thawed"}, "see 'mode'"),
        ({"base": "1"}, "see 'base'"),
        ({"more": 1}, "other keys"),
        ({"rows": {"all": 9, "chosen": 5, "in": 1}}, "has no counts"),
        ({"parts": {"scores": [f"scores/{KEY}"]}}, "for the next selection"),
        ({"parts": {**RECORD.parts, "scores": []}}, "for the next selection"),
        ({"references": {}}, "for the next selection"),
        ({"config": {"budget": 5}}, "lacks 'allow_short' in its config"),
    ],
)
def test_a_record_of_another_form_is_refused_though_its_checksum_fits(
    change: dict[str, Any], why: str
) -> None:
    with pytest.raises(DamagedArtifact, match=why):
        SelectionRecord.decode(dumps_checksummed(vars(RECORD) | change))
