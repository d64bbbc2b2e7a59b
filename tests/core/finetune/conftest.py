"""The 2-layer model, written once."""

from pathlib import Path

import pytest
from tinymodel import write_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")
