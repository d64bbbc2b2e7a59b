"""What a message says to install is an extra that there is."""

import tomllib
from pathlib import Path
from typing import get_args

from crowdselect_core.util.extras import Extra, install

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_every_extra_that_a_message_names_is_one_of_the_package() -> None:
    extras = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    assert {*get_args(Extra)} == {*extras} - {"check", "server", "test"}


def test_an_extra_is_installed_from_the_folder() -> None:
    assert install("hub") == (
        "run .venv/bin/pip install -c constraints.txt -e '.[hub]' in the folder of CrowdSelect"
    )
