"""Which weights a model's name stands for, so that a store key can name them.

A folder is its content, a hub id is the commit that it resolves to: neither a path nor a branch
says what was run.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.urls import expanded
from crowdselect_core.util.extras import install
from crowdselect_core.util.file_hash import file_sha256

COMMIT = re.compile(r"[0-9a-f]{40}")
SKIPPED = frozenset({".git", ".cache", "__pycache__", ".ipynb_checkpoints", ".DS_Store"})
# A model in the hub's cache has at least one of these.
PROBES = ("config.json", "modules.json", "tokenizer_config.json")


def local_folder(model: str) -> Path | None:
    """Return the folder that a model's name means, or None when it is a hub id.

    Raises:
        ConfigError: it can only be a folder and does not exist, or it is a file.
    """
    folder = Path(expanded(model))
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ConfigError(f"model {model!r} is a file, expected the folder that contains it")
    if model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model:
        raise ConfigError(
            f"model folder {model!r} does not exist: give a folder, or a hub id such as "
            "organisation/name"
        )
    return None


def model_identity(model: str, revision: str | None = None) -> str:
    """Name the weights of a model: `sha256:...` of a folder's files, `commit:...` of a hub id.

    A folder's hash is over the relative name and the content of every file, in the order of the
    names; version control, caches and the folder's own place are left out. A hub id is resolved on
    the hub, or where that cannot be reached (HF_HUB_OFFLINE, no network) by the local cache.

    Args:
        model: a folder or a hub id.
        revision: commit, tag or branch of a hub id; a full commit is taken at its word.

    Raises:
        ConfigError: no such folder, a revision of a folder, an empty folder, or a hub id that
            neither the hub nor the cache can resolve.
    """
    folder = local_folder(model)
    if folder is None:
        return f"commit:{_commit_once(model, revision)}"
    if revision is not None:
        raise ConfigError(
            f"model {model!r} is a folder and has no revision, found {revision!r}: leave revision "
            "out; the folder's content is its identity"
        )
    return f"sha256:{_hash_folder(folder)}"


def hub_commit(model: str, revision: str | None = None) -> str:
    """Return the commit that a hub id and revision resolve to now.

    Raises:
        ConfigError: neither the hub nor the local cache can resolve it.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import RevisionNotFoundError
    except ImportError:
        raise ConfigError(
            f"model {model!r} is no folder, and a hub id needs huggingface_hub, which is not "
            f"installed: {install('models')}"
        ) from None
    try:
        commit = HfApi().model_info(model, revision=revision, timeout=30).sha
        cause = "the hub names no commit"
    except RevisionNotFoundError:
        raise ConfigError(
            f"model {model!r} has no revision {revision!r}: give a commit, tag or branch of it"
        ) from None
    except Exception as e:  # offline, unreachable, private, unknown: the cache may still have it
        commit, cause = None, first_line(e).rstrip(".")
    commit = commit or _cached_commit(model, revision)
    if commit is None:
        raise ConfigError(
            f"model {model!r} (revision {revision or 'main'}) is no folder here, and neither the "
            f"hub nor its local cache has it: {cause}; check the name, log in with `hf auth "
            "login`, or give the folder of a downloaded copy"
        )
    return commit


@lru_cache(maxsize=256)
def _commit_once(model: str, revision: str | None) -> str:
    """Resolve a hub id once a process, so that all parts of a run mean the same commit."""
    return hub_commit(model, revision)


def _hash_folder(folder: Path) -> str:
    whole = hashlib.sha256()
    names = sorted(path.relative_to(folder).as_posix() for path in _files(folder))
    if not names:
        raise ConfigError(f"model folder {str(folder)!r} is empty, expected a model's files")
    for name in names:
        try:
            content = bytes.fromhex(file_sha256(folder / name))
        except OSError as e:
            raise ConfigError(
                f"model folder {str(folder)!r}: {name!r} cannot be read: {first_line(e)}"
            ) from None
        # NUL stands in no file name and a digest has one length: no two folders look alike.
        whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + content)
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder, links followed, each folder entered once."""
    entered: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        folders[:] = sorted(name for name in folders if name not in SKIPPED)
        yield from (Path(parent) / name for name in files if name not in SKIPPED)


def _cached_commit(model: str, revision: str | None) -> str | None:
    """Return the commit under which the hub's local cache holds a model."""
    from huggingface_hub import try_to_load_from_cache

    for probe in PROBES:
        try:
            found = try_to_load_from_cache(model, probe, revision=revision)
        except ValueError:  # not even the shape of a hub id
            return None
        if isinstance(found, str):  # .../snapshots/<commit>/<probe>
            return Path(found).parent.name
    return None
