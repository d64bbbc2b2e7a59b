"""A check of a whole store names what is damaged, and what it removes is computed alone."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest
from disks import Disk
from numbers_stage import SPEC, WHOLE, Work

from crowdselect_core.store.admin import verify as verify_module
from crowdselect_core.store.admin.inventory import sort_out
from crowdselect_core.store.admin.selection_records import records
from crowdselect_core.store.admin.verify import Verified, remove, verify
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.checksummed_json import dumps_checksummed
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.names import FILE

OTHER = replace(SPEC, identity={**SPEC.identity, "seed": 8})
CELLS = Spec("generated", 1, {"model": "a"})
RECORD, POINTER = "selections/mine/000001.json", "selections/mine/latest.json"
TEXTS = {cell_key(b"%d" % i): f"text {i}" for i in range(6)}


def cells_of(store: Store) -> CallCache:
    found = CallCache(store, CELLS, {"text": pl.String})
    found.refresh()
    return found


@pytest.fixture
def filled(store: Store) -> Store:
    """A store of two artifacts and the cells of one model in two segments."""
    build(store, SPEC, Work().plan)
    build(store, OTHER, Work(shard_rows=30).plan)
    mine, rows = cells_of(store), list(TEXTS.items())
    mine.commit(rows[:3])
    mine.commit(rows[3:])
    store.place.replace(f"{CELLS.folder}/pace.json", b"{}")
    told = {"artifacts": {"ranking": SPEC.folder}, "parts": {"scores": [OTHER.folder]}}
    store.place.replace(RECORD, dumps_checksummed({**told, "config": {"path": f"mine/{'0' * 64}"}}))
    store.place.replace(POINTER, dumps_checksummed({"number": 1}))
    return store


def told(found: Verified) -> list[tuple[str, str]]:
    return [(f.kind, f.name) for f in found.findings]


def one(disk: Disk, part: str) -> str:
    return min(name for name in disk.files() if part in name)


def test_a_whole_store(filled: Store, disk: Disk) -> None:
    seen: list[tuple[int, int, int, int]] = []
    found = verify(filled.place, progress=lambda *told: seen.append(told))
    assert (found.artifacts, found.cells, found.findings) == (2, 1, [])
    assert found.is_whole
    # 6 + 2 shards, 2 manifests and 2 segments
    assert found.files == 12
    files = {n: d for n, d in disk.files().items() if n.endswith(".parquet") or FILE in n}
    assert found.bytes == sum(map(len, files.values()))
    assert seen[-1] == (12, 12, found.bytes, found.bytes)


def flip(disk: Disk, name: str) -> None:
    disk.flip(name, 20)


def cut(disk: Disk, name: str) -> None:
    disk.write(name, disk.files()[name][:-1])


def longer(disk: Disk, name: str) -> None:
    disk.write(name, disk.files()[name] + b"\0")


def empty(disk: Disk, name: str) -> None:
    disk.write(name, b"")


@pytest.mark.parametrize("damage", [flip, cut, longer, empty])
@pytest.mark.parametrize("part", ["/part-00002", "/part-00000", FILE, "/cells-", "identity.json"])
def test_damage_is_named_and_removed(
    filled: Store, disk: Disk, damage: Callable[[Disk, str], None], part: str
) -> None:
    name = one(disk, part)
    damage(disk, name)
    found = verify(filled.place)
    assert told(found) == [("damaged", name)]
    assert not found.is_whole
    before = disk.stamps()
    assert remove(filled.place, found.findings) == [name]
    assert before.keys() - disk.stamps().keys() == {name}


def test_what_was_removed_is_computed_alone(filled: Store, disk: Disk) -> None:
    undisturbed = disk.files()
    for part in ("/part-00002", f"{OTHER.folder}/{FILE}"):
        flip(disk, one(disk, part))
    remove(filled.place, verify(filled.place).findings)
    for spec, rows, made in ((SPEC, 10, [2]), (OTHER, 30, [])):
        work = Work(shard_rows=rows)
        assert filled.find(spec) is None
        assert build(filled, spec, work.plan).frame().equals(WHOLE)
        assert work.made == made
    assert disk.files() == undisturbed
    assert verify(filled.place).is_whole


def test_a_removed_segment_is_missing_alone(filled: Store, disk: Disk) -> None:
    flip(disk, one(disk, "/cells-"))
    remove(filled.place, verify(filled.place).findings)
    assert cells_of(filled).missing(as_keys(TEXTS)).sum() == 3


def test_a_missing_shard_is_named(filled: Store, disk: Disk) -> None:
    name = one(disk, "/part-00002")
    disk.remove(name)
    found = verify(filled.place)
    assert told(found) == [("missing", name)]
    assert remove(filled.place, found.findings) == []


def test_swapped_files_are_named_with_what_they_hold(filled: Store, disk: Disk) -> None:
    one_name, other_name = f"{SPEC.folder}/{FILE}", f"{OTHER.folder}/{FILE}"
    shards = one(disk, f"{SPEC.folder}/part-00001"), one(disk, f"{SPEC.folder}/part-00004")
    for a, b in ((one_name, other_name), shards):
        files = disk.files()
        disk.write(a, files[b])
        disk.write(b, files[a])
    found = verify(filled.place)
    assert told(found) == sorted(("swapped", n) for n in (one_name, other_name, *shards))
    whys = {f.name: f.why for f in found.findings}
    assert whys[one_name] == f"contains the manifest of {OTHER.folder}"
    assert whys[shards[0]] == f"contains the bytes of {shards[1]}"


def test_foreign_files_are_named_and_left(filled: Store, disk: Disk) -> None:
    names = ["notes.txt", f"{SPEC.folder}/x.pkl", "numbers/short/manifest.json", "Zoo/a"]
    for name in names:
        disk.write(name, b"x")
    found = verify(filled.place)
    assert told(found) == sorted((("foreign", n) for n in names), key=lambda f: f[1])
    assert found.is_whole
    assert remove(filled.place, found.findings) == []


@pytest.mark.parametrize("name", [RECORD, POINTER])
def test_a_record_is_damaged_whatever_byte_of_it_is_another(
    filled: Store, disk: Disk, name: str
) -> None:
    data = disk.files()[name]
    layout = sort_out(filled.place.walk())
    for at in range(0, len(data), 17 if disk.root.startswith("bucket") else 1):
        bad = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        disk.write(name, bad)
        assert [r.name for r in records(filled.place, layout) if r.damage] == [name]
    found = verify(filled.place)
    assert told(found) == [("damaged", name)]
    assert remove(filled.place, found.findings) == [], "no run makes it anew"


def test_a_record_that_is_no_json_is_named_and_left(filled: Store, disk: Disk) -> None:
    disk.write("selections/mine/000002.json", b'{"artifacts": ')
    found = verify(filled.place)
    assert told(found) == [("damaged", "selections/mine/000002.json")]
    assert remove(filled.place, found.findings) == []


def test_a_record_that_names_what_is_not_there(filled: Store, disk: Disk) -> None:
    filled.forget(OTHER.stage, OTHER.key)
    [finding] = verify(filled.place).findings
    assert (finding.kind, finding.name, finding.removable) == ("missing", RECORD, False)
    assert finding.why == f"names {OTHER.folder}, which is not in the store"


def test_a_pointer_to_a_record_that_is_not_there(filled: Store, disk: Disk) -> None:
    disk.remove(RECORD)
    found = verify(filled.place)
    [finding] = found.findings
    assert (finding.kind, finding.name) == ("missing", POINTER)
    assert finding.why == f"names {RECORD}, which is missing"
    assert not found.is_whole
    disk.write(POINTER, dumps_checksummed({"number": True}))
    assert told(verify(filled.place)) == [("damaged", POINTER)]


def test_what_was_made_anew_meanwhile_is_not_removed(filled: Store, disk: Disk) -> None:
    whole = disk.files()
    names = [one(disk, part) for part in ("/part-00002", FILE, "/cells-", "identity.json")]
    for name in names:
        flip(disk, name)
    found = verify(filled.place)
    assert sorted(f.name for f in found.findings) == sorted(names)
    for name in names:
        disk.write(name, whole[name])
    assert remove(filled.place, found.findings) == []
    assert disk.files() == whole


def test_an_unfinished_artifact_is_no_damage_but_its_shards_are_checked(
    filled: Store, disk: Disk
) -> None:
    for name in (f"{SPEC.folder}/{FILE}", RECORD, POINTER):
        disk.remove(name)
    assert verify(filled.place).is_whole
    name = one(disk, f"{SPEC.folder}/part-00003")
    flip(disk, name)
    assert told(verify(filled.place)) == [("damaged", name)]


def test_a_large_file_is_read_piece_by_piece(
    filled: Store, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("local", "remote"):
        monkeypatch.setattr(f"crowdselect_core.store.backend.{module}.BLOCK", 1000)
    assert verify(filled.place).is_whole
    name = one(disk, "/part-00002")
    assert len(disk.files()[name]) > 1000
    [size] = [f.size for f in filled.place.walk() if f.name == name]
    assert b"".join(filled.place.read_blocks(name, size)) == disk.files()[name]
    longer(disk, name)
    assert b"".join(filled.place.read_blocks(name, size)) == disk.files()[name]
    disk.flip(name, -1)
    assert told(verify(filled.place)) == [("damaged", name)]


def test_an_identity_of_other_cells_is_damage(filled: Store, disk: Disk) -> None:
    other = canonical({"stage": "generated", "version": 1, "identity": {"model": "b"}}) + b"\n"
    disk.write(f"{CELLS.folder}/identity.json", other)
    [finding] = verify(filled.place).findings
    assert finding.name == f"{CELLS.folder}/identity.json"
    assert "does not fit the folder's name" in finding.why


def test_a_segment_that_is_merged_meanwhile_is_no_damage(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify_module._missing

    def merged(*args: object) -> object:
        cells_of(filled).merge(all_small=True)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(verify_module, "_missing", merged)
    assert verify(filled.place).is_whole
