"""Places that data is read from: credentials in a path, servers that fail, content tags."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError

from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.errors import (
    ConfigError,
    CrowdError,
    DatasetError,
    StorageError,
    TransientStorageError,
    UserError,
)
from crowdselect_core.ingest.files import fingerprint
from crowdselect_core.ingest.listing import list_files
from crowdselect_core.ingest.open import open_reader
from crowdselect_core.ingest.saved_dataset import is_saved_folder, open_saved
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.store.backend.errors import explain
from crowdselect_core.store.backend.file_system import file_system
from crowdselect_core.store.backend.local import LocalBackend
from crowdselect_core.urls import checked_url, shown_path

HIDDEN = "abcHIDDEN/def"
CREDENTIALS = {
    f"s3://AKIA:{HIDDEN}@bucket/x": "s3://***@bucket/x",
    f"S3://AKIA:{HIDDEN}@bucket": "S3://***@bucket",
    f"s3://AKIA:a::b{HIDDEN}@bucket/x": "s3://***@bucket/x",
    f"s3://AKIA:a@b{HIDDEN}@bucket/x": "s3://***@bucket/x",
    "s3://HIDDEN@bucket/x": "s3://***@bucket/x",
    f"zip://a.csv::s3://AKIA:{HIDDEN}@bucket/x.zip": "zip://a.csv::s3://***@bucket/x.zip",
    f"filecache::simplecache::s3://A:{HIDDEN}@b": "filecache::simplecache::s3://***@b",
    "abfs://user:HIDDEN@account.dfs.core.windows.net/x":
        "abfs://***@account.dfs.core.windows.net/x",
    "https://host/x?a=b&sig=HIDDEN&c=d": "https://host/x?a=b&sig=***&c=d",
}  # fmt: skip
HARMLESS = [
    "abfs://container@account.dfs.core.windows.net/x",
    "abfss://container@account.dfs.core.windows.net/a:b@c",
    "wasbs://container@account.blob.core.windows.net/x",
    "simplecache::abfs://container@account.dfs.core.windows.net/x",
    "s3://bucket/10:30/a@b.parquet",
    "http://localhost:8080/a@b.parquet",
    "data/a:b@c",
]


@pytest.mark.parametrize("url", CREDENTIALS)
def test_credentials_in_a_url_are_refused_and_never_shown(url: str) -> None:
    assert shown_path(url) == CREDENTIALS[url]
    calls: list[tuple[type[UserError], Any]] = [
        (ConfigError, lambda: checked_url(url)),
        (ConfigError, lambda: open_saved(url, "train", {})),
        (ConfigError, lambda: list_files(url, {})),
        (ConfigError, lambda: read_ids(url)),
        (ConfigError, lambda: read_ids(f"{url}{'x' * 300}.parquet")),
        (CrowdError, lambda: read_crowd(url)),
        (CrowdError, lambda: read_crowd(f"{url}{'x' * 300}")),
    ]
    for kind, call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize("url", HARMLESS)
def test_paths_without_credentials(url: str) -> None:
    assert checked_url(url) == shown_path(url) == url
    with pytest.raises(ConfigError, match="no such file") as caught:
        read_ids(url)
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proxy", "http://me:HIDDEN@proxy:8080"),
        ("proxy", "me:HIDDEN@proxy:8080"),
        ("text", "AccountName=a;AccountKey=HIDDEN"),
        ("text", "BlobEndpoint=https://a.net;SharedAccessSignature=sv=1"),
        ("text", "Bearer HIDDEN"),
        ("connection_string", "HIDDEN"),
        ("auth", "HIDDEN"),
        ("username", "HIDDEN"),
        ("passwd", "HIDDEN"),
        ("header", "HIDDEN"),
    ],
)
def test_credentials_among_the_values_of_storage_options(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"storage_options.{name} looks like a cred") as caught:
        DatasetConfig(path="s3://b/x", storage_options={name: value})
    assert "HIDDEN" not in str(caught.value)


def test_an_account_is_no_credential() -> None:
    options = {"account_name": "zoo", "proxy": "http://proxy:8080", "region": "eu-1"}
    DatasetConfig(path="abfs://c/x", storage_options=options)  # type: ignore[arg-type]


def failed(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "HIDDEN"}}, "HeadObject")


def failing(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(type(fsspec.filesystem("memory")), method, fail)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(failed("500"), TransientStorageError), (OSError("HIDDEN"), TransientStorageError),
     (failed("InvalidBucketName"), StorageError)],
)  # fmt: skip
def test_a_server_that_fails_while_a_saved_folder_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StorageError]
) -> None:
    failing(monkeypatch, "exists", error)
    for call in (is_saved_folder, lambda path, options: open_saved(path, "train", options)):
        with pytest.raises(StorageError, match="cannot read memory://zoo") as caught:
            call("memory://zoo", {})
        assert type(caught.value) is kind
        assert "HIDDEN" not in str(caught.value)
    for path in ("memory://zoo/*", "memory://zoo/a.parquet", "memory://zoo/a.JSONL"):
        assert not is_saved_folder(path, {})


@pytest.mark.parametrize("error", [failed("403"), PermissionError("HIDDEN"), NoCredentialsError()])
def test_no_rights_are_told_by_the_listing(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failing(monkeypatch, "exists", error)
    assert not is_saved_folder("memory://zoo", {})
    failing(monkeypatch, "info", error)
    failing(monkeypatch, "isdir", error)
    with pytest.raises(StorageError, match="cannot read memory://zoo: access denied"):
        open_reader(DatasetConfig(path="memory://zoo"))


def test_a_saved_folder_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/unreadable/state.json", b"{}")
    failing(monkeypatch, "cat_file", failed("403"))
    with pytest.raises(StorageError, match="cannot read memory://unreadable: access denied"):
        open_saved("memory://unreadable", "train", {})


def test_the_same_content_has_the_same_fingerprint_anywhere(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")

    def digest(path: str, data: bytes) -> str:
        fs.pipe_file(f"/{path}", data)
        return fingerprint(list_files(f"memory://{path}", {}).files)

    first = digest("tags/a.jsonl", b"one")
    assert digest("tags/a.jsonl", b"two") != first
    assert digest("elsewhere/b.jsonl", b"one") == first
    (tmp_path / "c.jsonl").write_bytes(b"one")
    assert fingerprint(list_files(str(tmp_path / "c.jsonl"), {}).files) == first


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_http_without_a_content_tag(tmp_path: Path) -> None:
    handler = partial(Silent, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.jsonl"
        found = []
        for data in (b"one", b"two", b"one"):
            (tmp_path / "a.jsonl").write_bytes(data)
            found.append(fingerprint(list_files(url, {}).files))
        server.shutdown()
    assert found[0] == found[2] != found[1]
    with pytest.raises(UserError) as caught:  # the server is gone
        open_reader(DatasetConfig(path=url))
    assert "check the address and that the server runs" in str(caught.value)


def test_a_name_that_no_bucket_may_have() -> None:
    wrapped = ValueError("HIDDEN")
    wrapped.__cause__ = ParamValidationError(report="HIDDEN")
    for error in (failed("InvalidBucketName"), wrapped):
        told = explain(error, "read", "s3://A/x")
        assert type(told) is StorageError
        assert "the bucket's name is not valid" in str(told)
        assert "HIDDEN" not in str(told)
    assert "AWS_ENDPOINT_URL" in str(explain(failed("500"), "read", "s3://a/x"))
    assert "AWS_ENDPOINT_URL" not in str(explain(failed("500"), "read", "https://a/x"))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:9/x", "github://org/repo/x", "nosuch://x"])
def test_a_file_system_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        file_system(url)
    assert "\n" not in str(caught.value)
    assert "AWS_ENDPOINT_URL" not in str(caught.value)


def test_a_folder_that_cannot_be_made() -> None:
    place = LocalBackend("/proc/crowdselect")
    for call in (place.check_writable, lambda: place.create_exclusive("a", b"")):
        with pytest.raises(StorageError, match="cannot create the folder"):
            call()
    with pytest.raises(FileNotFoundError):
        place.read("a")
    with pytest.raises(DatasetError, match="no such file"):
        list_files("/proc/crowdselect", {})


def test_a_bucket_is_asked_on_the_server_that_is_named_now(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(**options: object) -> object:
        return file_system("s3://bucket/a", options)[0].endpoint_url

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert asked() == "http://127.0.0.1:1"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    assert asked() == "http://127.0.0.1:2"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:3")
    assert asked() == "http://127.0.0.1:3"
    assert asked(endpoint_url="http://127.0.0.1:4") == "http://127.0.0.1:4"
    assert asked(client_kwargs={"endpoint_url": "http://127.0.0.1:5"}) is None  # boto reads it
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert asked() is None


def test_the_hubs_token_goes_to_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    url, mirror = "hf://datasets/org/name/zoo.parquet", "http://127.0.0.1:9"
    for path in (url, f"simplecache::{url}"):
        with pytest.raises(ConfigError, match=r"storage_options\.endpoint: .*set HF_ENDPOINT in"):
            open_reader(DatasetConfig(path=path, storage_options={"endpoint": mirror}))
    for other in ("http://huggingface.co", "https://huggingface.co.evil.invalid", "http://[", "x"):
        with pytest.raises(ConfigError, match="HF_TOKEN would be sent to it"):
            file_system(url, {"endpoint": other})
    assert file_system(url, {"endpoint": "https://huggingface.co"})[0].endpoint
    monkeypatch.setenv("HF_ENDPOINT", f"{mirror}/")
    assert file_system(url, {"endpoint": mirror})[0].endpoint == mirror
