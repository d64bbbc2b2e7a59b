"""Data set, store and results in a bucket of a real S3 server, and what happens without rights."""

import json
import os
import shutil
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command import Command, Result, finish, until
from runs import FLAGS, PLACES, Run, Server
from servers import ADMIN, READER, S3Server, free_port
from zoos import Zoo

pytestmark = pytest.mark.server

WRONG = ("MARKEDwrongID", "MARKEDwrongSECRET")
OTHERS = ("MARKEDotherID", "MARKEDotherSECRET")
# What a run says that waits for a bucket's server. A busy Prefect server is waited for too, in a
# line of its own, which says nothing about the bucket.
WAITS = "; trying again for up to"


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server, data: Zoo) -> str:
    """The URL of a prefix that holds the data set."""
    prefix = f"{s3_server.bucket}/{uuid.uuid4().hex}"
    s3_server.file_system().put_file(str(data.path), f"{prefix}/zoo/part-0.parquet")
    return f"s3://{prefix}"


def in_bucket(bucket: str, data: Zoo) -> list[str | Path]:
    return ["--dataset", f"{bucket}/zoo/*.parquet", "--crowd", data.crowd, *FLAGS,
            "--store", f"{bucket}/store", "--out", f"{bucket}/out"]  # fmt: skip


def listing(fs: Any, bucket: str, under: str) -> dict[str, Any]:
    top = f"{bucket.removeprefix('s3://')}/{under}"
    found = fs.find(top, detail=True)  # a folder that is being filled may be listed as well
    return {p: (i["ETag"], i["LastModified"]) for p, i in found.items() if i["type"] == "file"}


def test_a_run_in_a_bucket_killed_resumed_and_repeated(
    command: Command, s3_server: S3Server, bucket: str, data: Zoo, undisturbed: Run
) -> None:
    fs, keys = s3_server.file_system(), s3_server.environment()
    flags = in_bucket(bucket, data)
    with command.start(*flags, env=keys) as process:
        until(lambda: len(listing(fs, bucket, "store/scores")) >= 2, process)
        os.killpg(process.pid, signal.SIGKILL)
        finish(process).ended(-signal.SIGKILL)
    before = listing(fs, bucket, "store/scores")
    shown = command.run(*flags, env=keys).ended(0).shown
    after = listing(fs, bucket, "store/scores")
    assert {p: after[p] for p in before} == before

    out = bucket.removeprefix("s3://") + "/out"
    names = sorted(p.rsplit("/", 1)[-1] for p in fs.find(out))
    assert names == [
        "manifest.json", "ranking.parquet", "report.html", "selection.parquet", "train.jsonl",
    ]  # fmt: skip
    with fs.open(f"{out}/selection.parquet") as file:
        selection = pl.read_parquet(file)
    local = pl.read_parquet(undisturbed.folder / "out" / "selection.parquet")
    assert selection.equals(local)
    train = fs.cat_file(f"{out}/train.jsonl")
    assert train == (undisturbed.folder / "out" / "train.jsonl").read_bytes()

    before = listing(fs, bucket, "store") | listing(fs, bucket, "out")
    again = command.run(*flags, env=keys).ended(0)
    assert len(again.stages("Cached")) == 14
    assert listing(fs, bucket, "store") | listing(fs, bucket, "out") == before
    for secret in ADMIN:
        assert secret not in shown + again.shown
        assert not any(secret.encode() in fs.cat_file(p) for p in before if p.endswith(".json"))


def refused(result: Result) -> str:
    """Return the one line of a run that ended with something the user can mend."""
    result.ended(2)
    assert "MARKED" not in result.shown, "a credential is shown"
    assert not result.tracebacks
    return result.error


def test_wrong_keys_are_told_at_once(
    command: Command, s3_server: S3Server, bucket: str, flags: list[str], tmp_path: Path
) -> None:
    here = command.within(tmp_path)
    result = here.run(*flags, "--store", bucket, env=s3_server.environment(WRONG))
    assert f"cannot read {bucket}" in refused(result)
    assert "access denied" in result.error
    assert WAITS not in result.shown


@pytest.fixture(scope="module")
def endings(
    command: Command, s3_server: S3Server, bucket: str, data: Zoo, undisturbed: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Result]:  # fmt: skip
    """Runs that fail in different ways, two at a time: most of their time they wait."""
    keys = s3_server.environment()
    down = {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}
    cases = {
        "down": (down, ["--store", "s3://bucket/store"]),
        "nosuch": (keys, ["--store", "s3://nosuch/store"]),
        "reader": (s3_server.environment(READER), ["--store", f"{bucket}/denied"]),
        "out": (s3_server.environment(WRONG), ["--out", f"{bucket}/denied"]),
        "dataset": (s3_server.environment(WRONG), ["--dataset", f"{bucket}/zoo/*.parquet"]),
    }
    folder = tmp_path_factory.mktemp("endings")

    def run(name: str) -> Result:
        env, flags = cases[name]
        here = command.within(Path(shutil.copytree(undisturbed.folder, folder / name)))
        return here.run(*data.flags, *FLAGS, *PLACES, *flags, env=env)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cases, pool.map(run, cases), strict=True))


@pytest.mark.parametrize("place", ["out", "dataset"])
def test_wrong_keys_for_other_places(endings: dict[str, Result], bucket: str, place: str) -> None:
    line = refused(endings[place])
    assert bucket in line
    assert "access denied" in line


def test_a_bucket_that_does_not_exist_is_told_and_not_made(
    endings: dict[str, Result], s3_server: S3Server
) -> None:
    line = refused(endings["nosuch"])
    assert "s3://nosuch/store" in line
    assert "the bucket does not exist" in line
    assert not s3_server.file_system().exists("nosuch")


def test_keys_that_may_only_read(
    endings: dict[str, Result], s3_server: S3Server, bucket: str
) -> None:
    line = refused(endings["reader"])
    assert f"cannot write {bucket}/denied" in line
    assert "access denied" in line
    assert listing(s3_server.file_system(), bucket, "denied") == {}


def test_a_server_that_is_down(endings: dict[str, Result]) -> None:
    line = refused(endings["down"])
    assert "check AWS_ENDPOINT_URL and that the server runs" in line
    assert WAITS not in endings["down"].shown, "it never answered, so there is nothing to wait for"


def test_credentials_may_come_from_a_secret_block(
    command: Command, s3_server: S3Server, bucket: str, data: Zoo, server: Server
) -> None:
    server.make_secret("bucket-keys", json.dumps(held(s3_server)))
    server.make_secret("not-keys", "MARKED-not-json")
    flags, block = in_bucket(bucket, data), "CROWDSELECT_CREDENTIALS_BLOCK"
    ended = command.run(*flags, env={block: "bucket-keys"}).ended(0)
    assert "Cached" in command.run(*flags, "--dry-run", env={block: "bucket-keys"}).ended(0).stdout
    refused = command.run(*flags, env={block: "not-keys"}).ended(2)
    assert "expected a JSON object" in refused.error
    absent = command.run(*flags, env={block: "no-such-block"}).ended(2)
    assert "no Secret block 'no-such-block'" in absent.error
    assert "MARKED" not in ended.shown + refused.shown + absent.shown


@pytest.mark.parametrize("source", ["block", "file"])
def test_keys_that_are_exchanged_in_mid_run(
    command: Command, data: Zoo, server: Server, tmp_path: Path, source: str
) -> None:
    """The old ones are revoked, the new ones are where the old ones came from."""
    own = S3Server.start(tmp_path / "s3")
    try:
        flags = ["--dataset", data.path, "--crowd", data.crowd, *FLAGS,
                 "--store", f"{own.url}/store", "--out", f"{own.url}/out"]  # fmt: skip
        env = {n: v for n, v in own.environment().items() if "_KEY" not in n}
        block, file = f"keys-{uuid.uuid4().hex}", tmp_path / "credentials"
        if source == "block":
            server.make_secret(block, json.dumps(held(own)))
            env["CROWDSELECT_CREDENTIALS_BLOCK"] = block
        else:
            file.write_text(profile(ADMIN))
            env["AWS_SHARED_CREDENTIALS_FILE"] = str(file)
        with command.start(*flags, env=env) as process:
            until(lambda: len(listing(own.file_system(), own.url, "store")) >= 8, process)
            if source == "block":
                server.change_secret(block, json.dumps(held(own, OTHERS)))
            else:
                file.write_text(profile(OTHERS))
            own.exchange(OTHERS)
            ended = finish(process).ended(0)
        said = ended.shown.count("going on with new ones from their source")
        assert said == (1 if source == "block" else 0), (
            "a file that changed is seen without a refusal"
        )
        assert "MARKED" not in ended.shown
        assert own.file_system().exists(f"{own.bucket}/out/manifest.json")
    finally:
        own.stop()


def held(server: S3Server, keys: tuple[str, str] | None = None) -> dict[str, str]:
    """What a Secret block holds."""
    return {n: v for n, v in server.environment(keys).items() if n != "AWS_EC2_METADATA_DISABLED"}


def profile(keys: tuple[str, str]) -> str:
    """The shared credentials file, with one pair of keys."""
    return f"[default]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
