"""Uploading a trained model to the Hugging Face hub, with the token of HF_TOKEN alone."""

import os
import tempfile
from pathlib import Path
from typing import Any

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.finetune.files import unpack
from crowdselect_core.store.artifacts import Artifact

TOKEN = "HF_TOKEN"  # noqa: S105
ENDPOINT = "HF_ENDPOINT"
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md"]


def check() -> None:
    """Check that an upload can be tried.

    Raises:
        ConfigError: there is no token, or the hub is switched off.
    """
    if not os.environ.get(TOKEN):
        raise ConfigError(f"training.push_to: set {TOKEN} to a token that may write there")
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise ConfigError("training.push_to: HF_HUB_OFFLINE is set: unset it to upload")


def upload_model(repository: str, model: Artifact) -> str:
    """Upload a model's files in one commit; files that are there already are not sent again.

    Args:
        repository: org/name; made, private, where it is missing.
        model: the trained model.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: there is no token, or the hub refuses it.
        DamagedArtifact: the model is damaged.
    """
    check()
    with tempfile.TemporaryDirectory(prefix="crowdselect-push-") as folder:
        unpack(model, Path(folder))
        key = model.manifest.facts["training"]["key"]
        return _upload(repository, Path(folder) / "model", f"CrowdSelect training {key[:16]}")


def _upload(repository: str, folder: Path, message: str) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub: Any = HfApi(endpoint=os.environ.get(ENDPOINT), token=os.environ[TOKEN])
    try:
        place = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=message,
            allow_patterns=PATTERNS,
        )
    except (HfHubHTTPError, httpx.HTTPError) as e:
        answer = getattr(e, "response", None)
        status = f"the hub answered {answer.status_code}" if answer is not None else first_line(e)
        raise ConfigError(
            f"training.push_to {repository}: {status}; the model is in OUT and in the store: check "
            f"that the token of {TOKEN} may write there, and run again"
        ) from None
    return str(place)
