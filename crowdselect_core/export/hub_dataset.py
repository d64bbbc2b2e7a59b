"""Uploading a selection to the Hugging Face hub as a data set, with the token of HF_TOKEN alone."""

import tempfile
from pathlib import Path

from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.export.dataset_card import FILE, MARK, PAIRS, TRAIN
from crowdselect_core.export.selection_files import read_manifest
from crowdselect_core.finetune import hub_upload
from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.pending_files import size_and_sha256

KEY = "push_to"


def check() -> None:
    """Check that an upload can be tried, before anything is computed.

    Raises:
        ConfigError: there is no token, the hub is switched off, or its package is missing.
    """
    hub_upload.check(KEY)


def upload_selection(repository: str, out: str, card: str, key: str) -> str:
    """Upload OUT/train.jsonl, the pairs where there are any, and the card, in one commit.

    Pairs of an earlier upload are removed where this selection has none; other files stay.

    Args:
        repository: org/name; made, private, where it is missing.
        out: OUT as the user wrote it.
        card: its README.md.
        key: of the selection in the store, for the commit's message.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: OUT has no train.jsonl, there is no token, or the hub refuses it.
        StorageError: OUT does not have the files of this selection.
    """
    check()
    place = open_backend(out)
    manifest = read_manifest(place)
    chosen = str(manifest["artifacts"].get("selection")) if manifest else ""
    if manifest is None or chosen.rpartition("/")[2] != key:
        raise StorageError(
            f"push_to: {out} has no manifest.json of this selection, another run wrote there; run "
            "again with an --out of its own"
        )
    stated = manifest["files"]
    if TRAIN not in stated:
        raise ConfigError(
            f"push_to: {out} has no {TRAIN}: the data set has no instruction texts or no answers, "
            "so there is nothing to upload; leave push_to out"
        )
    with tempfile.TemporaryDirectory(prefix="crowdselect-push-") as made:
        folder = Path(made)
        for name in (n for n in (TRAIN, PAIRS) if n in stated):
            data = _read(place, name)
            if size_and_sha256(data) != stated[name]:
                raise StorageError(
                    f"push_to: {out}/{name} is not the file that its manifest.json names: it was "
                    "changed, or another run wrote there; run again with an --out of its own"
                )
            (folder / name).write_bytes(data)
        (folder / "README.md").write_text(card, "utf-8")
        names = [TRAIN, PAIRS, "README.md"]
        message = f"CrowdSelect selection {key[:16]}"
        return hub_upload.upload(
            KEY, repository, folder, message, "the selection", names, "dataset", [PAIRS]
        )


def _read(place: StorageBackend, name: str) -> bytes:
    try:
        return place.read(name)
    except FileNotFoundError:
        return b""


def write_card(out: str, card: str) -> str:
    """Write the card to OUT/dataset_card.md and return its address there.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it holds a file of that name that is not ours.
    """
    place = open_backend(out)
    try:
        ours = MARK.encode() in place.read(FILE)
    except FileNotFoundError:
        ours = True
    if not ours:
        raise ConfigError(
            f"{out}: holds {FILE}, which no run has written, so it is not replaced; name another "
            "--out, or move the file away"
        )
    place.replace(FILE, card.encode("utf-8", "backslashreplace"))
    return f"{out.rstrip('/')}/{FILE}"
