"""Where the steps of a training are reported: the packages that `report_to` needs."""

import os
from importlib.util import find_spec

from crowdselect_core.config.finetune import Tracker
from crowdselect_core.errors import ConfigError

BOARD_FOLDER = "TENSORBOARD_LOGGING_DIR"  # transformers reads it


def check(tracker: Tracker | None) -> None:
    """Check that what reports is installed; TRL logs in as the package itself does.

    Raises:
        ConfigError: the package is missing, or TensorBoard has no folder.
    """
    if tracker is None:
        return
    packages = ("tensorboard", "tensorboardX") if tracker == "tensorboard" else (tracker,)
    if not any(find_spec(package) for package in packages):
        raise ConfigError(f"training.report_to: {tracker} is not installed: pip install {tracker}")
    if tracker == "tensorboard" and not os.environ.get(BOARD_FOLDER):
        raise ConfigError(
            f"training.report_to: tensorboard needs a folder that stays: set {BOARD_FOLDER} to it"
        )
