"""Uploading a folder to the Hugging Face hub, with the token of HF_TOKEN alone."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.finetune.card import FILE as CARD
from crowdselect_core.finetune.card import current_card
from crowdselect_core.finetune.files import unpack
from crowdselect_core.store.artifacts import Artifact
from crowdselect_core.util.extras import install

TOKEN = "HF_TOKEN"  # noqa: S105
ENDPOINT = "HF_ENDPOINT"
PATTERNS = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "README.md"]
KEY = "training.push_to"


def check(key: str = KEY) -> None:
    """Check that an upload can be tried.

    Args:
        key: the config key that asks for it, for messages.

    Raises:
        ConfigError: there is no token, the hub is switched off, or its package is missing.
    """
    try:
        from huggingface_hub import constants
    except ImportError:
        raise ConfigError(
            f"{key}: needs huggingface_hub, which is not installed: {install('hub')}"
        ) from None
    if not os.environ.get(TOKEN):
        raise ConfigError(f"{key}: set {TOKEN} to a token that may write there")
    if constants.HF_HUB_OFFLINE:
        raise ConfigError(f"{key}: HF_HUB_OFFLINE is set: unset it to upload")


def upload_model(
    repository: str, model: Artifact, licenses: Mapping[str, str | None] = MappingProxyType({})
) -> str:
    """Upload a model's files in one commit; files that are there already are not sent again.

    Args:
        repository: org/name; made, private, where it is missing.
        model: the trained model.
        licenses: of the crowd models as the config has them now, for the model card.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: there is no token, or the hub refuses it.
        DamagedArtifact: the model is damaged.
    """
    check()
    with tempfile.TemporaryDirectory(prefix="crowdselect-push-") as folder:
        unpack(model, Path(folder))
        _, card = current_card(model.manifest.facts["training"], licenses)
        if card is not None:
            (Path(folder) / CARD).write_text(card, "utf-8")
        key = model.manifest.facts["training"]["key"]
        message = f"CrowdSelect training {key[:16]}"
        return upload(KEY, repository, Path(folder) / "model", message, "the model", PATTERNS)


def upload(
    key: str,
    repository: str,
    folder: Path,
    message: str,
    what: str,
    patterns: Sequence[str],
    kind: str = "model",
    gone: Sequence[str] = (),
) -> str:
    """Upload a folder in one commit.

    Args:
        key: the config key that asks for it, for messages.
        repository: org/name; made, private, where it is missing.
        folder: whose files are uploaded.
        message: of the commit.
        what: is uploaded, for messages.
        patterns: which files.
        kind: model or dataset.
        gone: files of the repository that are removed unless the folder has them.

    Returns:
        The address of the repository.

    Raises:
        ConfigError: the hub refuses it, or cannot be reached.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub: Any = HfApi(endpoint=os.environ.get(ENDPOINT), token=os.environ[TOKEN])
    try:
        place = hub.create_repo(repository, private=True, exist_ok=True, repo_type=kind)
        hub.upload_folder(
            repo_id=repository,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            allow_patterns=list(patterns),
            delete_patterns=list(gone) or None,
        )
    except (HfHubHTTPError, httpx.HTTPError) as e:
        answer = getattr(e, "response", None)
        status = f"the hub answered {answer.status_code}" if answer is not None else first_line(e)
        raise ConfigError(
            f"{key} {repository}: {status}; {what} is in OUT and in the store: check "
            f"that the token of {TOKEN} may write there, and run again"
        ) from None
    return str(place)
