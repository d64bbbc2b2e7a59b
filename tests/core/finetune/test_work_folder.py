"""Room on the disks of a training, before it and in its middle."""

import errno
import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crowdselect_core.errors import StorageError
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.work_folder import (
    PREFIX,
    check_store,
    full_disk_explained,
    work_folder,
)
from crowdselect_core.store.artifacts import Store


def test_a_store_beside_the_work_folder_needs_room_for_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    free = shutil.disk_usage(tmp_path).free
    check_store(str(tmp_path / "not" / "yet"), free // 4)
    with pytest.raises(StorageError, match=r"GB are needed .* put the store or TMPDIR on a larger"):
        check_store(str(tmp_path / "not" / "yet"), free * 3 // 4)


LIVE = """
import sys
from crowdselect_core.finetune.work_folder import work_folder
with work_folder(0) as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_only_folders_of_runs_that_are_dead_are_removed_whatever_their_process_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    other = subprocess.Popen(
        [sys.executable, "-c", LIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    made = Path(other.stdout.readline().strip())
    (made / "checkpoint").mkdir()
    elsewhere = tmp_path / f"{PREFIX}4194400-other"  # as in a container whose processes we see not
    made = made.rename(elsewhere)
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path)
    with work_folder(0) as own:
        assert own.is_dir()
        assert (made / "checkpoint").is_dir()
        other.send_signal(signal.SIGKILL)
        other.wait()
        with work_folder(0):
            assert own.is_dir()
            assert not made.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{PREFIX}file", f"{PREFIX}link"]
    other.stdin.close()
    other.stdout.close()


def test_of_a_bucket_it_is_said_what_cannot_be_known(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "crowdselect")
    check_store("s3://bucket/store", 3_000_000_000)
    assert "about 3.0 GB will be written; the free room of a bucket cannot be known" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "quota"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at x.cc:1] . PytorchStreamWriter failed writing file data/1"),
    ],
)
def test_a_disk_that_fills_up_in_the_middle_is_one_line(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(StorageError, match=rf"the disk of {tmp_path} is full; set TMPDIR"),
        full_disk_explained(tmp_path / "work"),
    ):
        raise error
    with pytest.raises(KeyError), full_disk_explained(tmp_path):
        raise KeyError("other")


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["optimizer.bin", "scheduler.pt", "trainer_state.json"], "optimizer.pt, weights"),
        (["model.safetensors", "optimizer.pt", "scheduler.pt"], "trainer_state.json"),
    ],
)
def test_a_checkpoint_that_nothing_could_go_on_from_is_not_stored(
    tmp_path: Path, names: list[str], missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    layout: dict[str, Any] = {}
    checkpoints = Checkpoints(Store(str(tmp_path / "store")), "key", layout)
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    checkpoints.save(tmp_path, 3)
    assert f"step 3 is not stored: it has no {missing}" in caplog.text
    assert checkpoints.restore(tmp_path) is None
