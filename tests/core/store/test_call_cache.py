"""Cells: what is committed is found, by every reader, whatever was killed or merged meanwhile."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from crowdselect_core.errors import StorageError
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.store.cache import call_cache as cells_module
from crowdselect_core.store.cache import key_index
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_bytes, as_keys, cell_key
from crowdselect_core.store.cache.saved_index import Void
from crowdselect_core.store.cache.writer import CacheWriter
from crowdselect_core.store.identity import Spec

SPEC = Spec("generated", 1, {"model": "a"})
SCHEMA = {"text": pl.String, "n": pl.Int64}


def key(i: int) -> bytes:
    return cell_key(str(i).encode())


def keys(numbers: range) -> np.ndarray:
    return as_keys(key(i) for i in numbers)


def rows(numbers: range) -> list[tuple[bytes, str, int]]:
    return [(key(i), f"text {i}", i) for i in numbers]


def opened(root: Path) -> CallCache:
    found = CallCache(Store(str(root)), SPEC, SCHEMA)
    found.refresh()
    return found


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("generated/*/cells-*.parquet"))


def test_what_is_committed_is_found_by_another_reader(tmp_path: Path) -> None:
    opened(tmp_path).commit(rows(range(5)))
    other = opened(tmp_path)
    assert other.missing(keys(range(3, 8))).tolist() == [False, False, True, True, True]
    found = other.read(keys(range(3, 8)))
    assert sorted(found["n"].to_list()) == [3, 4]
    assert found.schema == {"key": pl.Binary, **SCHEMA}


def test_reading_cells_imports_no_pandas(tmp_path: Path) -> None:
    opened(tmp_path).commit(rows(range(5)))
    (segment,) = segments(tmp_path)
    code = (
        "import sys; from pathlib import Path; import polars as pl\n"
        "from crowdselect_core.store.safe_parquet import decode\n"
        "schema = {'key': pl.Binary, 'text': pl.String, 'n': pl.Int64}\n"
        "print(decode(Path(sys.argv[1]).read_bytes(), schema=schema).height)\n"
        "sys.exit('pandas' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(segment)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert (ended.stdout, ended.returncode) == ("5\n", 0)


def test_keys_that_end_in_nul_bytes_are_told_apart() -> None:
    one, other = b"a" * 15 + b"\0", b"a" * 14 + b"\0\0"
    assert as_bytes(as_keys([one, other])) == [one, other]
    assert as_keys([one])[0] != as_keys([other])[0]


def test_the_parts_of_a_key_are_told_apart() -> None:
    assert cell_key(b"ab", b"c") != cell_key(b"a", b"bc") != cell_key(b"abc")


def test_what_another_process_commits_is_seen_after_a_refresh(tmp_path: Path) -> None:
    mine, other = opened(tmp_path), opened(tmp_path)
    other.commit(rows(range(2)))
    assert mine.missing(keys(range(2))).all()
    mine.refresh()
    assert not mine.missing(keys(range(2))).any()


def test_many_small_commits_become_few_segments_and_lose_nothing(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    for i in range(200):
        mine.commit(rows(range(i, i + 1)))
        mine.merge()
    assert len(segments(tmp_path)) < 40
    mine.merge(all_small=True)
    assert len(segments(tmp_path)) == 1
    for reader in (mine, opened(tmp_path)):
        assert sorted(reader.read(keys(range(200)))["n"].to_list()) == list(range(200))


def test_a_merge_that_is_killed_half_way_leaves_every_row_once(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    mine.commit(rows(range(3)))
    mine.commit(rows(range(3, 6)))
    before = {p: p.read_bytes() for p in segments(tmp_path)}
    mine.merge(all_small=True)
    for path, data in before.items():  # as if the kill came before the small ones went
        path.write_bytes(data)
    found = opened(tmp_path).read(keys(range(6)))
    assert sorted(found["n"].to_list()) == list(range(6))


def test_a_merge_by_another_process_is_followed(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    mine.commit(rows(range(2)))
    mine.commit(rows(range(2, 4)))
    reader, other = opened(tmp_path), opened(tmp_path)
    other.merge(all_small=True)
    assert sorted(reader.read(keys(range(4)))["n"].to_list()) == [0, 1, 2, 3]


def test_of_two_answers_to_one_request_all_readers_take_the_same(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.commit([(key(1), "one", 1)])
    other.commit([(key(1), "other", 2)])
    first = opened(tmp_path).read(keys(range(1, 2)))
    one.refresh()
    one.merge(all_small=True)
    second = opened(tmp_path).read(keys(range(1, 2)))
    assert first.height == 1
    assert first.equals(second)


def test_a_merge_keeps_one_row_of_a_key_the_one_that_is_read(tmp_path: Path) -> None:
    one, two = opened(tmp_path), opened(tmp_path)
    one.commit(rows(range(100)))
    two.commit([(key(i), f"another {i}", -i) for i in range(50, 150)])
    reader = opened(tmp_path)
    before = reader.read(keys(range(150))).sort("key")
    opened(tmp_path).merge(all_small=True)
    (segment,) = segments(tmp_path)
    assert pl.read_parquet(segment, hive_partitioning=False).height == 150
    for cells in (reader, opened(tmp_path)):
        assert cells.read(keys(range(150))).sort("key").equals(before)


def test_rows_that_do_not_count_are_merged_apart(tmp_path: Path) -> None:
    void = Void("n", lambda numbers: numbers < 0)
    cells = CallCache(Store(str(tmp_path)), SPEC, SCHEMA, void)
    cells.commit([(key(1), "broken", -1), (key(2), "broken", -2)])
    cells.commit([(key(1), "broken too", -1), (key(1), "whole", 1), (key(3), "new", 3)])
    cells.merge(all_small=True)
    (segment,) = segments(tmp_path)
    assert sorted(pl.read_parquet(segment, hive_partitioning=False)["n"]) == [-2, -1, -1, 1, 3]
    assert cells.missing(keys(range(1, 4))).tolist() == [False, True, False]
    assert sorted(cells.read(keys(range(4)))["n"]) == [1, 3]


def test_a_damaged_segment_is_said_removed_and_its_rows_are_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = opened(tmp_path)
    mine.commit(rows(range(2)))
    mine.commit(rows(range(2, 4)))
    damaged = segments(tmp_path)[0]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(bytes(data))
    reader = opened(tmp_path)
    assert reader.missing(keys(range(4))).sum() == 2
    assert "is damaged" in caplog.text
    assert not damaged.exists()


def test_a_merge_beside_a_damaged_segment_keeps_the_whole_one(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    mine.commit(rows(range(2)))
    mine.commit(rows(range(2, 4)))
    damaged, whole = segments(tmp_path)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    mine.merge(all_small=True)
    assert segments(tmp_path) == [whole]
    assert opened(tmp_path).missing(keys(range(4))).sum() == 2


def test_two_processes_that_merge_at_once_lose_nothing(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    for i in range(10):
        one.commit(rows(range(i, i + 1)))
    other.refresh()
    one.merge(all_small=True)
    other.merge(all_small=True)  # its index names segments that are gone
    other.refresh()
    for reader in (one, other, opened(tmp_path)):
        assert sorted(reader.read(keys(range(10)))["n"].to_list()) == list(range(10))


def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path) -> None:
    mine = opened(tmp_path)
    mine.commit(rows(range(2)))
    stranger = segments(tmp_path)[0].parent / "cells-notes.parquet"
    stranger.write_bytes(b"notes")
    assert not opened(tmp_path).missing(keys(range(2))).any()
    assert stranger.exists()


def test_large_segments_are_merged_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "LARGE", 2_000)
    mine = opened(tmp_path)
    noise = random.Random(0)
    for i in range(20):
        mine.commit([(key(i), noise.randbytes(300).hex(), i)])
        mine.merge(all_small=True)
    sizes = [p.stat().st_size for p in segments(tmp_path)]
    assert len(sizes) > 3
    assert max(sizes) < 6_000
    assert sorted(opened(tmp_path).read(keys(range(20)))["n"].to_list()) == list(range(20))


def test_rows_that_compress_to_nothing_are_not_merged_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_index, "LEAST", 10_000)  # far more than their bytes
    monkeypatch.setattr(cells_module, "LARGE", 100_000)
    mine = opened(tmp_path)
    for i in range(20):
        mine.commit([(key(i), "a" * 1000, i)])
        mine.merge(all_small=True)
    assert sorted(pl.read_parquet(p).height for p in segments(tmp_path)) == [10, 10]


def test_a_writer_commits_all_rows_when_its_block_ends(tmp_path: Path) -> None:
    with CacheWriter(opened(tmp_path)) as writer:
        for row in rows(range(1000)):
            writer.add(row)
    assert not opened(tmp_path).missing(keys(range(1000))).any()


def test_a_writer_commits_what_it_was_given_before_an_error(tmp_path: Path) -> None:
    with (  # noqa: PT012 - the block is the test
        pytest.raises(RuntimeError, match="mine"),
        CacheWriter(opened(tmp_path)) as writer,
    ):
        writer.add(rows(range(1))[0])
        raise RuntimeError("mine")
    assert not opened(tmp_path).missing(keys(range(1))).any()


@pytest.mark.parametrize("new", [0, 1])
def test_an_identity_that_was_lost_comes_back_with_the_next_run(tmp_path: Path, new: int) -> None:
    opened(tmp_path).commit(rows(range(2)))
    [name] = tmp_path.glob("generated/*/identity.json")
    told = name.read_bytes()
    name.unlink()
    with CacheWriter(opened(tmp_path)) as writer:
        for row in rows(range(2, 2 + new)):
            writer.add(row)
    assert name.read_bytes() == told


def test_where_an_identity_cannot_come_back_a_writer_without_rows_does_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).commit(rows(range(2)))
    [name] = tmp_path.glob("generated/*/identity.json")
    name.unlink()

    def create(self: LocalBackend, name: str, data: bytes) -> bool:
        raise StorageError("the store may only be read")

    monkeypatch.setattr(LocalBackend, "create_exclusive", create)
    with CacheWriter(opened(tmp_path)):
        pass
    with (
        pytest.raises(StorageError, match="may only be read"),
        CacheWriter(opened(tmp_path)) as writer,
    ):
        writer.add((key(2), "text 2", 2))


def test_a_writer_without_rows_makes_no_folder(tmp_path: Path) -> None:
    with CacheWriter(opened(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("no folder")
    with (  # noqa: PT012 - told by an add or at the end, whichever comes first
        pytest.raises(
            StorageError, match=r"a file exists where a folder is expected|a part of the path"
        ),
        CacheWriter(CallCache(Store(str(root)), SPEC, SCHEMA)) as writer,
    ):
        for row in rows(range(3)):
            writer.add(row)
