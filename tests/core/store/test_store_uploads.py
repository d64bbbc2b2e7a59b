"""Uploads to a bucket that were begun and never ended go, ours alone."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3fs
from leftovers import LATER, soon, told
from servers import S3Server

from crowdselect_core.evaluate import leaderboard, out_files
from crowdselect_core.export import dataset_card, experiment_files, trained_model
from crowdselect_core.export.long_tables import GENERATION, RESPONSES, SCORES, SCORING
from crowdselect_core.export.selection_files import MANIFEST, OURS
from crowdselect_core.store.admin.gc import delete, garbage
from crowdselect_core.store.backend import s3 as bucket
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.names import FILE, RESULTS, is_written
from tasks.cleanup import abort_uploads, places_of

SHARD = f"numbers/{'a' * 64}/part-00000-of-01234567-{'b' * 64}.parquet"


@pytest.fixture
def begun(s3: S3Server, tmp_path: Path) -> Iterator[tuple[StorageBackend, Callable[[str], str]]]:
    """A place in the bucket, and a way to begin an upload there and never end it."""
    place, fs = open_backend(f"s3://{s3.bucket}/{tmp_path.name}"), s3.file_system()

    def begin(name: str) -> str:
        key = f"{tmp_path.name}/{name}"
        upload = fs.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=key)["UploadId"]
        fs.call_s3("upload_part", Bucket=s3.bucket, Key=key, UploadId=upload, PartNumber=1,
                   Body=b"x" * 1000)  # fmt: skip
        return str(upload)

    yield place, begin
    for upload in place.uploads():
        place.abort(upload)


@pytest.mark.server
def test_unfinished_uploads_under_the_root_go(
    begun: tuple[StorageBackend, Callable[[str], str]], s3: S3Server, tmp_path: Path
) -> None:
    place, begin = begun
    ids = {begin(SHARD), begin("train.jsonl")}
    outside = open_backend(f"s3://{s3.bucket}/{tmp_path.name}-beside")
    assert {u.id for u in place.uploads()} == ids
    assert outside.uploads() == []
    assert garbage(place, time.time() - LATER) == []
    found = garbage(place, soon())
    assert told(found) == [("unfinished upload", n, 0) for n in (SHARD, "train.jsonl")]
    assert len(list(delete(place, found, soon()))) == 2
    assert place.uploads() == []
    assert len(list(delete(place, found, soon()))) == 2, "one that is gone is no error"


OTHERS = [
    "backup.tar", "numbers/a", "models/train.jsonl", "a/b/c/manifest.json", "selections/mine/notes",
    f"numbers/{'a' * 64}/model.safetensors", f"generated/{'a' * 64}/manifest.json",
]  # fmt: skip


@pytest.mark.server
def test_uploads_of_other_programs_are_left_alone(
    begun: tuple[StorageBackend, Callable[[str], str]], s3: S3Server, tmp_path: Path
) -> None:
    """The root may be a whole bucket, in which others are at work."""
    place, begin = begun
    theirs = {begin(name) for name in OTHERS}
    assert place.uploads() == []
    assert list(delete(place, garbage(place, soon()), soon())) == []
    assert abort_uploads(place.root, hours=-1) == 0
    fs = s3.file_system()
    left = bucket.uploads(fs, f"{s3.bucket}/{tmp_path.name}/")
    assert {u.id for u in left} == theirs
    for upload in left:
        bucket.abort(fs, upload.name, upload.id)


@pytest.mark.server
def test_a_bucket_as_a_root(
    begun: tuple[StorageBackend, Callable[[str], str]], s3: S3Server
) -> None:
    _, begin = begun
    begin(SHARD)
    assert open_backend(f"s3://{s3.bucket}").uploads() == []


def test_whatever_a_run_writes_may_be_uploaded() -> None:
    written = {*OURS, MANIFEST, RESPONSES, GENERATION, SCORES, SCORING, leaderboard.FILE}
    written |= {trained_model.FILE, trained_model.CURVE, out_files.FILE, dataset_card.FILE}
    written |= {*experiment_files.FILES, experiment_files.ADVICE_FILE}
    written |= {experiment_files.SENSITIVITY_FILE}
    assert written == RESULTS
    cells = f"generated/{'a' * 64}/cells-{'b' * 64}.parquet"
    for name in (SHARD, cells, f"zoo/{'a' * 64}/{FILE}", "selections/mine/000001.json"):
        assert is_written(name)


@pytest.mark.server
def test_uploads_are_listed_over_many_pages(
    begun: tuple[StorageBackend, Callable[[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, begin = begun
    ids = {begin(SHARD.replace("part-0000", f"part-000{i}")) for i in range(5)}
    fs = place._fs  # type: ignore[attr-defined]
    real = type(fs).call_s3

    def small(self: object, method: str, **how: object) -> object:
        return real(self, method, **how, **({"MaxUploads": 2} if "list" in method else {}))

    monkeypatch.setattr(type(fs), "call_s3", small)
    assert {u.id for u in place.uploads()} == ids


@pytest.mark.server
def test_the_sweep_aborts_what_a_crashed_run_left_half_done(
    begun: tuple[StorageBackend, Callable[[str], str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place, begin = begun
    begin(SHARD)
    assert abort_uploads(place.root, hours=1) == 0
    assert len(place.uploads()) == 1
    assert abort_uploads(place.root, hours=-1) == 1
    assert place.uploads() == []
    begin("ranking.parquet")
    with monkeypatch.context() as wrong:
        wrong.setenv("AWS_SECRET_ACCESS_KEY", "MARKED-wrong")
        s3fs.S3FileSystem.clear_instance_cache()
        assert abort_uploads(place.root, hours=-1) == 0
    s3fs.S3FileSystem.clear_instance_cache()
    assert "access denied" in caplog.text
    assert "MARKED" not in caplog.text


def test_the_places_of_crashed_runs_are_those_in_buckets() -> None:
    runs = [
        {"config": {"store": "s3://b/store", "out": "out"}},
        {"config": {"store": "s3://b/store", "out": "s3://b/out"}},
        {"config": "none"},
        {},
    ]
    assert places_of(runs) == ["s3://b/out", "s3://b/store"]
