"""A bucket that somebody else may write to: what he plants is refused, and nothing is executed."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import ROOT
from disks import Disk
from mutated import mutated
from numbers_stage import SPEC, WHOLE, Work, frame
from servers import S3Server

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.admin.cli import main
from crowdselect_core.store.admin.gc import delete, garbage
from crowdselect_core.store.admin.inventory import sort_out
from crowdselect_core.store.admin.verify import verify
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.base import FileInfo
from crowdselect_core.store.build import build
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_keys, cell_key
from crowdselect_core.store.identity import Spec, canonical
from crowdselect_core.store.manifest import Manifest, Shard
from crowdselect_core.store.names import FILE
from crowdselect_core.store.safe_parquet import Unreadable

CELLS = Spec("generated", 1, {"model": "a"})
KEY = cell_key(b"1")
FAR = 4e9  # long after everything was written


def as_parquet(table: pl.DataFrame, told: dict[str, object] | None = None) -> bytes:
    """Write a table as a store does, with what it tells."""
    buffer = BytesIO()
    text = canonical(told).decode() if told is not None else ""
    table.write_parquet(buffer, metadata={"crowdselect": text} if told is not None else None)
    return buffer.getvalue()


def bomb() -> bytes:
    """Return a few KiB that unfold to 1.6 GB: a row of nothing, two hundred million times."""
    sink = BytesIO()
    pq.write_table(pa.table({"number": pa.nulls(200_000_000)}), sink)
    return sink.getvalue()


def plant(disk: Disk, data: bytes, rows: int, spec: Spec = SPEC) -> str:
    """Plant an artifact of one shard whose manifest fits everything."""
    digest = sha256(data).hexdigest()
    shard = Shard(f"part-00000-of-01234567-{digest}.parquet", rows, len(data), digest)
    manifest = Manifest(
        spec.stage, spec.version, spec.key, spec.identity, spec.inputs, rows, {}, (shard,)
    )
    disk.write(f"{spec.folder}/{shard.name}", data)
    disk.write(f"{spec.folder}/{FILE}", manifest.encode())
    return f"{spec.folder}/{shard.name}"


class Pickle:
    """What writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.mark,)


def of_other_rows() -> bytes:
    return as_parquet(frame(0, 10))


def no_parquet() -> bytes:
    return b"PAR1" + b"\xff" * 100 + b"\x7f\xff\xff\xffPAR1"


def of_other_columns() -> bytes:
    return as_parquet(pl.DataFrame({"other": range(60)}))


def a_pickle() -> bytes:
    return pickle.dumps(Pickle(Path("exploded")))


@pytest.mark.parametrize("make", [of_other_rows, no_parquet, of_other_columns, bomb, a_pickle])
def test_a_planted_artifact_is_refused_and_computed(
    store: Store, disk: Disk, make: Callable[[], bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    name = plant(disk, make(), 200_000_000 if make is bomb else 60)
    planted = store.find(SPEC)
    assert planted is not None, "its manifest and its size fit"
    with pytest.raises(DamagedArtifact) as caught:
        planted.frame(["number", "digest"])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert name not in disk.files()
    assert build(store, SPEC, Work().plan).frame().equals(WHOLE)
    assert not (tmp_path / "exploded").exists()


def test_a_planted_shard_of_a_build_is_refused(store: Store, disk: Disk) -> None:
    tag = Work().plan.tag
    place = f"{SPEC.folder}/part-00001-of-{tag}"
    told = {"rows": 10, "counts": {}, "notes": [], "of": place}
    for table, tells in (
        (frame(10, 10), told | {"rows": 11}),
        (frame(10, 10), told | {"rows": "10"}),
        (frame(10, 10), told | {"counts": []}),
        (frame(10, 10), told | {"of": f"{SPEC.folder}/part-00002-of-{tag}"}),
        (frame(10, 10), {}),
    ):
        data = as_parquet(table, tells)
        disk.write(f"{place}-{sha256(data).hexdigest()}.parquet", data)
    data = bomb()
    disk.write(f"{place}-{sha256(data).hexdigest()}.parquet", data)
    work = Work()
    assert build(store, SPEC, work.plan).frame().equals(WHOLE)
    assert work.made == [0, 1, 2, 3, 4, 5]
    assert len(disk.files()) == 7


def planted_segments() -> list[bytes]:
    """Segments under right names that are none."""
    schema = {"key": pl.Binary, "text": pl.String}
    own = {"of": CELLS.folder}
    return [
        bomb(),
        no_parquet(),
        b"",
        a_pickle(),
        as_parquet(pl.DataFrame({"key": [KEY]}), own),
        as_parquet(pl.DataFrame([(KEY, "x", 1)], schema | {"n": pl.Int64}, orient="row"), own),
        as_parquet(pl.DataFrame({"key": [KEY], "text": [1]}), own),
        as_parquet(pl.DataFrame({"key": ["text"], "text": ["x"]}), own),
        as_parquet(pl.DataFrame([(b"short", "x")], schema, orient="row"), own),
        as_parquet(pl.DataFrame([(None, "x")], schema, orient="row"), own),
    ]


def test_planted_segments_are_refused(
    store: Store, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    def opened() -> CallCache:
        cells = CallCache(store, CELLS, {"text": pl.String})
        cells.refresh()
        return cells

    opened().commit([(KEY, "mine")])
    for data in planted_segments():
        caplog.clear()
        name = f"{CELLS.folder}/cells-{sha256(data).hexdigest()}.parquet"
        disk.write(name, data)
        assert opened().read(as_keys([KEY]))["text"].to_list() == ["mine"]
        assert name in caplog.text
        assert name not in disk.files()


def test_a_file_that_would_unfold_is_refused_by_its_footer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreadable, match=r"would unfold from [\d,]+ to 1,600,000,000 bytes"):
        safe_parquet.decode(bomb())
    table = pl.DataFrame({"text": ["0" * 1_000_000]})
    buffer = BytesIO()
    table.write_parquet(buffer, compression="zstd")
    assert safe_parquet.decode(buffer.getvalue()).equals(table), (
        "a little text may be as dull as it is"
    )
    monkeypatch.setattr(safe_parquet, "FLOOR", 1000)
    with pytest.raises(Unreadable, match="would unfold"):
        safe_parquet.decode(buffer.getvalue())
    noise = pl.DataFrame({"text": [os.urandom(30).hex() for _ in range(1000)]})
    assert safe_parquet.decode(as_parquet(noise)).equals(noise)


FUZZ = """
import resource, sys
from collections import Counter
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
sys.path[:0] = sys.argv[2:]
from mutated import mutated
from crowdselect_core.store import safe_parquet
data, ended = Path(sys.argv[1]).read_bytes(), Counter()
for seed in range(1500):
    planted = mutated(data, seed)
    for call in (safe_parquet.read_metadata, lambda d: safe_parquet.decode(d, rows=300)):
        try:
            call(planted)
            ended["read"] += 1
        except safe_parquet.Unreadable as e:
            assert "\\n" not in str(e)
            ended["refused"] += 1
print(ended["read"] > 300, ended["refused"] > 300)
"""


def test_whatever_a_parquet_file_holds_the_process_goes_on(tmp_path: Path) -> None:
    """Polars ended the whole process at some of these; in a process of its own for that reason."""
    table = pl.DataFrame(
        {
            "key": [b"%016d" % i for i in range(300)],
            "text": [f"text {i}" if i % 7 else None for i in range(300)],
            "scores": [[i / 2] * (i % 3) for i in range(300)],
        }
    )
    buffer = BytesIO()
    table.write_parquet(buffer, compression="zstd", metadata={"crowdselect": '{"of":"x"}'})
    (tmp_path / "file").write_bytes(buffer.getvalue())
    assert mutated(buffer.getvalue(), 1) != buffer.getvalue()
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, tmp_path / "file", ROOT / "tests", ROOT],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


# Names.

NAMES = [
    "../outside",
    f"../{SPEC.folder}/{FILE}",
    f"numbers/../../{FILE}",
    f"/etc/{'0' * 64}/{FILE}",
    f"numbers/{'0' * 64}/part-00000-of-01234567-{'0' * 64}.parquet\n",
    f"numbers/{'0' * 64}/\x00",
    f"num\nbers/{'0' * 64}/{FILE}",
    f"numbers/{'0' * 64}/../{FILE}",
    f"numbers/{'0' * 64}/.tmp-../../x",
    ".tmp-../x",
    f"generated/{'0' * 64}/cells-{'0' * 63}..parquet",
    "",
    "\x1b[31m",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_none_of_ours(name: str) -> None:
    layout = sort_out([FileInfo(name, 1, 0.0)])
    assert [f.name for f in layout.foreign] == [name]
    assert layout.temporary == layout.records == []
    assert layout.folders == {}


@pytest.mark.server
def test_hostile_names_in_a_bucket(
    s3: S3Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fs, root = s3.file_system(), f"{s3.bucket}/{tmp_path.name}"
    store = Store(f"s3://{root}")
    build(store, SPEC, Work().plan)
    named = []
    for name in (n for n in NAMES if not n.startswith("/")):  # this server drops a second slash
        try:
            fs.call_s3("put_object", Bucket=s3.bucket, Key=f"{tmp_path.name}/{name}", Body=b"x")
            named.append(name)
        except Exception:  # noqa: S112 - this server refuses some names by itself
            continue
    assert len(named) >= 5
    before = {f.name for f in store.place.walk()}
    found = verify(store.place)
    assert {f.kind for f in found.findings} == {"foreign"}
    assert list(delete(store.place, garbage(store.place, FAR), FAR)) == []
    assert {f.name for f in store.place.walk()} == before
    for argv in (["ls"], ["verify"], ["gc", "--older-than", "0s"]):
        assert main([*argv, "--store", f"s3://{root}"]) == 0
        out = capsys.readouterr().out
        assert all(c.isprintable() or c == "\n" for c in out)
        assert out.count("\n") <= len(named) + 3, "a name is one line"


@pytest.mark.parametrize("stage", ["../outside", "/etc", "a/b", "", "a\nb", "NUL\x00"])
def test_a_manifest_that_points_elsewhere_is_refused(
    store: Store, disk: Disk, stage: str, tmp_path: Path
) -> None:
    spec = replace(SPEC, stage=stage)
    manifest = Manifest(stage, 1, spec.key, spec.identity, spec.inputs, 0, {}, ())
    for data, folder in (
        (manifest.encode(), f"numbers/{spec.key}"),
        (manifest.encode(), SPEC.folder),
    ):
        disk.write(f"{folder}/{FILE}", data)
        with pytest.raises(DamagedArtifact):
            Manifest.decode(data)
        with pytest.raises(DamagedArtifact):
            store.open(*folder.split("/"))
    assert store.find(SPEC) is None
    assert build(store, SPEC, Work().plan).frame().equals(WHOLE)
    assert not (tmp_path / "outside").exists()
    assert {f.kind for f in verify(store.place).findings} == {"damaged"}
