"""What names a model's weights: content for a folder, a commit for a hub id."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from crowdselect_core.errors import ConfigError
from crowdselect_core.models.hub import hub_commit, local_folder, model_identity

huggingface_hub = pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "1_Pooling").mkdir(parents=True)
    (model / "config.json").write_bytes(b"{}")
    (model / "1_Pooling" / "config.json").write_bytes(b"{1}")
    return model


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the hub at an empty cache and no network; return the cache."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


class Hub(BaseHTTPRequestHandler):
    """Answer for one model as the hub does: its commit, no such revision, or out of order."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        if name == "v9":
            self.send_response(404)
            self.send_header("X-Error-Code", "RevisionNotFound")
            body = b"{}"
        elif name == "down":
            self.send_response(502)
            body = b""
        else:
            self.send_response(200)
            body = json.dumps({"id": "nobody/model", "sha": COMMIT}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a hub on this machine; return its client's cache."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}"
        )
        yield tmp_path
        server.shutdown()


def cached(cache: Path, model: str, reference: str) -> None:
    """Lay out a model in the hub's cache as its client does."""
    repository = cache / f"models--{model.replace('/', '--')}"
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / "modules.json").write_text("[]")
    (repository / "refs").mkdir()
    (repository / "refs" / reference).write_text(COMMIT)


def test_identity_is_the_hash_of_names_and_contents_in_order(folder: Path) -> None:
    # name, NUL, sha256 of the content; "1_Pooling/config.json" comes before "config.json"
    inner, outer = hashlib.sha256(b"{1}").digest(), hashlib.sha256(b"{}").digest()
    whole = b"1_Pooling/config.json\0" + inner + b"config.json\0" + outer
    assert model_identity(str(folder)) == f"sha256:{hashlib.sha256(whole).hexdigest()}"


def test_a_copy_elsewhere_has_the_same_identity(folder: Path, tmp_path: Path) -> None:
    identity = model_identity(str(folder))
    assert model_identity(str(folder.rename(tmp_path / "other name"))) == identity


def test_version_control_and_caches_are_left_out(folder: Path) -> None:
    identity = model_identity(str(folder))
    for name in (".git", ".cache", "1_Pooling/__pycache__"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    (folder / ".DS_Store").write_text("x")
    assert model_identity(str(folder)) == identity


@pytest.mark.parametrize("change", ["content", "name", "place", "more", "less"])
def test_every_change_of_a_file_changes_the_identity(folder: Path, change: str) -> None:
    identity = model_identity(str(folder))
    config = folder / "config.json"
    if change == "content":
        config.write_bytes(b"[]")
    elif change == "name":
        config.rename(folder / "configs.json")
    elif change == "place":
        config.rename(folder / "1_Pooling" / "other.json")
    elif change == "more":
        (folder / "empty").touch()
    else:
        config.unlink()
    assert model_identity(str(folder)) != identity


def test_links_are_followed_as_in_the_cache_of_the_hub(folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "snapshot"
    linked.mkdir()
    (linked / "config.json").symlink_to(folder / "config.json")
    (linked / "1_Pooling").symlink_to(folder / "1_Pooling")
    identity = model_identity(str(folder))
    assert model_identity(str(linked)) == identity
    (folder / "1_Pooling" / "again").symlink_to(folder)  # a ring ends, and adds no file
    assert model_identity(str(folder)) == identity


def test_a_broken_link_names_the_file(folder: Path) -> None:
    (folder / "weights").symlink_to(folder / "nowhere")
    with pytest.raises(ConfigError, match="'weights' cannot be read"):
        model_identity(str(folder))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("/no/such/folder", "does not exist"),
        ("./here", "does not exist"),
        ("a/b/c", "does not exist"),
        ("~/nobody", "does not exist"),
    ],
)
def test_what_can_only_be_a_folder_must_exist(model: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model_identity(model)


def test_a_file_an_empty_folder_and_a_revision_of_a_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a file"):
        model_identity(str(folder / "config.json"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is empty"):
        model_identity(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="has no revision, found 'main'"):
        model_identity(str(folder), "main")


def test_home_is_understood(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert local_folder("~/model") == folder
    assert model_identity("~/model") == model_identity(str(folder))


def test_a_full_commit_is_taken_at_its_word(offline: Path) -> None:
    assert model_identity("nobody/model", COMMIT) == f"commit:{COMMIT}"


@pytest.mark.parametrize(("reference", "revision"), [("main", None), ("v2", "v2")])
def test_offline_the_cache_says_the_commit(
    offline: Path, reference: str, revision: str | None
) -> None:
    cached(offline, "nobody/model", reference)
    assert hub_commit("nobody/model", revision) == COMMIT
    assert model_identity("nobody/model", revision) == f"commit:{COMMIT}"


def test_what_neither_hub_nor_cache_has_is_one_clear_line(offline: Path) -> None:
    cached(offline, "nobody/model", "main")
    for model, revision in (("nobody/other", None), ("nobody/model", "v9"), ("not an id", None)):
        with pytest.raises(ConfigError, match="neither the hub nor its local cache") as caught:
            model_identity(model, revision)
        assert repr(model) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_online_the_hub_says_the_commit(hub: Path) -> None:
    assert model_identity("nobody/model") == f"commit:{COMMIT}"
    assert model_identity("nobody/model", "v2") == f"commit:{COMMIT}"


def test_a_revision_that_the_hub_does_not_have(hub: Path) -> None:
    cached(hub, "nobody/model", "v9")  # deleted since: the cache does not bring it back
    with pytest.raises(ConfigError, match="has no revision 'v9'"):
        model_identity("nobody/model", "v9")


def test_a_hub_that_is_out_of_order_leaves_it_to_the_cache(hub: Path) -> None:
    with pytest.raises(ConfigError, match="neither the hub nor its local cache"):
        model_identity("nobody/model", "down")
    cached(hub, "nobody/model", "down")
    assert model_identity("nobody/model", "down") == f"commit:{COMMIT}"
