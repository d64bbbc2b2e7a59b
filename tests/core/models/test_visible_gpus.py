"""What nvidia-smi says is taken as it is; where it fails, a warning says so."""

import logging
from pathlib import Path

import pytest

from crowdselect_core.models.devices import visible_gpus


def tool(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a nvidia-smi first on PATH."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_gpus_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, monkeypatch, "echo 0; echo 1")
    assert visible_gpus() == ["0", "1"]


def test_a_driver_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tool(tmp_path, monkeypatch, "echo 'NVIDIA-SMI has failed: no driver'; echo more; exit 9")
    with caplog.at_level(logging.WARNING, "crowdselect"):
        assert visible_gpus() == []
    assert "nvidia-smi ended with 9: NVIDIA-SMI has failed: no driver; so no GPU" in caplog.text
    assert "more" not in caplog.text
