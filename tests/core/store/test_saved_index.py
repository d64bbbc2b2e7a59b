"""The keys of large segments in a file of their own: a shortcut that changes no answer."""

import json
import logging
import os
import random
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowdselect_core.store.admin.verify import verify
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache import call_cache, key_index, saved_index
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import (
    LEAST,
    Index,
    as_bytes,
    as_keys,
    as_sorted,
    halves,
)
from crowdselect_core.store.cache.saved_index import Void
from crowdselect_core.store.identity import Spec

SPEC = Spec("generated", 1, {"model": "m"}, {})
SCHEMA = {"text": pl.String, "reason": pl.String}
BROKEN = Void("reason", lambda reasons: reasons.is_in(["broken"]).fill_null(False))


def key(n: int) -> bytes:
    return sha256(n.to_bytes(4, "big")).digest()[:16]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store where five rows are a large segment, and their keys are saved from twenty rows on."""
    monkeypatch.setattr(call_cache, "LARGE", 5 * LEAST)
    monkeypatch.setattr(saved_index, "LEAST_ROWS", 20)
    return Store(str(tmp_path / "store"))


def cells(store: Store, void: Void | None = BROKEN) -> CallCache:
    opened = CallCache(store, SPEC, SCHEMA, void)
    opened.refresh()
    return opened


def fill(store: Store, start: int, rows: int, odd: str = "stop") -> None:
    """Commit rows in segments of ten."""
    opened = cells(store)
    for first in range(start, start + rows, 10):
        reasons = {n: odd if n % 2 else "stop" for n in range(first, first + 10)}
        opened.commit([(key(n), f"text {n}", reason) for n, reason in reasons.items()])
        opened.merge()


def files(store: Store, what: str) -> list[Path]:
    return sorted(Path(store.place.root).glob(f"{SPEC.folder}/{what}-*"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments that are read."""
    names: list[str] = []
    real = CallCache._read

    def noted(self: CallCache, name: str, columns: list[str] | None = None) -> object:
        names.append(name)
        return real(self, name, columns)

    monkeypatch.setattr(CallCache, "_read", noted)
    return names


def missing(opened: CallCache, rows: int) -> list[int]:
    return np.flatnonzero(opened.missing(as_keys(key(n) for n in range(rows)))).tolist()


def test_what_is_missing_is_known_without_the_segments(store: Store, read: list[str]) -> None:
    fill(store, 0, 100)
    assert len(files(store, "cells")) == 10
    read.clear()
    opened = cells(store)
    assert read == []
    assert missing(opened, 103) == [100, 101, 102]
    rows = opened.read(as_keys([key(7), key(93), key(101)])).sort("text")
    assert rows["text"].to_list() == ["text 7", "text 93"]
    assert len(read) == 2, "only the segments of the texts"


def test_files_are_few_and_none_of_a_small_cache(store: Store) -> None:
    fill(store, 0, 10)
    assert files(store, "index") == []
    fill(store, 10, 630)
    assert 1 <= len(files(store, "index")) <= 6
    assert verify(store.place).findings == []
    assert missing(cells(store), 640) == []


def test_a_segment_that_changed_is_read_and_its_damage_told(
    store: Store, read: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, 0, 40)
    changed, gone, *_ = files(store, "cells")
    data = bytearray(changed.read_bytes())
    data[200] ^= 1
    changed.write_bytes(data)
    os.utime(changed, (1, 1))
    gone.unlink()
    read.clear()
    assert len(missing(cells(store), 40)) == 20
    assert set(read) == {changed.name}
    assert f"{changed.name} is damaged" in caplog.text


def test_rows_that_are_void_by_another_rule_are_looked_at_again(
    store: Store, read: list[str]
) -> None:
    fill(store, 0, 40, odd="broken")
    read.clear()
    assert missing(cells(store), 40) == list(range(1, 40, 2))
    assert read == []
    other = Void("reason", lambda reasons: reasons == "stop")
    assert missing(cells(store, other), 40) == list(range(0, 40, 2))
    assert len(read) == 4


@pytest.mark.parametrize("harm", ["flip", "cut", "name"])
def test_a_damaged_file_is_told_removed_and_written_again(
    store: Store, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, 0, 40)
    for file in files(store, "index"):
        data = file.read_bytes()
        file.write_bytes(
            {"flip": data[:-1] + bytes([data[-1] ^ 1]), "cut": data[:-5], "name": data}[harm]
        )
        if harm == "name":
            file.rename(file.with_name(f"index-{'0' * 64}.keys"))
    [finding] = verify(store.place).findings
    assert "index-" in finding.name
    opened = cells(store)
    assert missing(opened, 41) == [40]
    assert "is damaged" in caplog.text
    assert files(store, "index") == []
    opened.save_index()
    assert missing(cells(store), 41) == [40]
    assert verify(store.place).findings == []


@pytest.mark.parametrize(
    "head",
    [b"", b"[]", b"{}", b'{"of":1,"rows":-1,"segments":[]}', b"[" * 5000,
     b'{"of":"x","rows":1,"segments":[]}', b'{"of":"x","rows":9e999,"segments":[]}'],
)  # fmt: skip
def test_what_a_stranger_wrote_is_no_file_of_ours(
    store: Store, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    fill(store, 0, 10)
    data = head + b"\n" + bytes(20)
    path = Path(store.place.root) / SPEC.folder / f"index-{sha256(data).hexdigest()}.keys"
    path.write_bytes(data)
    assert missing(cells(store), 11) == [10]
    assert "is damaged" in caplog.text
    assert not path.exists()


def test_a_file_of_other_cells_is_left_aside(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    head = json.dumps({"of": "generated/other", "rows": 0, "segments": []}).encode()
    data = head + b" " * (-(len(head) + 1) % 8) + b"\n"
    fill(store, 0, 10)
    path = Path(store.place.root) / SPEC.folder / f"index-{sha256(data).hexdigest()}.keys"
    path.write_bytes(data)
    caplog.set_level(logging.WARNING)
    assert missing(cells(store), 11) == [10]
    assert "belongs to other cells" in caplog.text
    assert path.exists()


@pytest.mark.parametrize("near", [3, 1 << 15])
def test_an_index_finds_what_sets_find(monkeypatch: pytest.MonkeyPatch, near: int) -> None:
    """Keys that share a half, repeat, or stand in several segments; drawn from few values."""
    monkeypatch.setattr(key_index, "NEAR", near)
    rng = random.Random(0)

    def some(count: int) -> list[bytes]:
        return [bytes(7) + bytes([rng.randrange(3)]) + bytes(7) + bytes([rng.randrange(4)])
                for _ in range(count)]  # fmt: skip

    for _ in range(30):
        index, held = Index(), {}
        for number in range(rng.randrange(1, 9)):
            held[f"s{number}"] = some(rng.randrange(6))
            index.enter(f"s{number}", 1, as_keys(held[f"s{number}"]))
        if rng.random() < 0.5:
            index.drop("s0")
            held.pop("s0")
        asked = some(9)
        here = {key for keys in held.values() for key in keys}
        assert index.missing(as_keys(asked)).tolist() == [key not in here for key in asked]
        holders = [name for name, keys in held.items() if set(keys) & set(asked)]
        assert index.holders(as_keys(asked)) == holders
        first, last, order = as_sorted(as_keys(asked))
        ordered = as_keys([asked[i] for i in order])
        assert as_bytes(ordered) == sorted(asked)
        assert order.tolist() == sorted(range(9), key=lambda i: asked[i])  # repeats as they stood
        absent = index.missing_halves(first, last)
        assert absent.tolist() == [key not in here for key in sorted(asked)]
        every = as_sorted(as_keys(sorted(here)))
        assert not index.missing_halves(*every[:2]).any()
        assert [a.tolist() for a in halves(ordered)] == [first.tolist(), last.tolist()]
        chosen = [name for name in held if rng.random() < 0.5]
        level, names = index.keys_of(chosen)
        assert sorted(names[n] for n in level.segments) == sorted(
            name for name in chosen for _ in held[name]
        )
