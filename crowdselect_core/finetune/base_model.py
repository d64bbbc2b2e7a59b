"""The base model that is trained: which weights its name stands for, and where they are."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.hub import hub_commit, local_folder, model_identity
from crowdselect_core.util.extras import install

log = logging.getLogger("crowdselect")

SAMPLE = "sample:smollm2"
NEEDED = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


@dataclass(frozen=True)
class BaseModel:
    """A base model: its name, its identity, and what transformers loads.

    Args:
        name: as the config has it.
        identity: `sha256:...` of a folder, `commit:...` of a hub id, `gguf:...` of the sample's.
        source: a folder or a hub id.
        revision: the commit of a hub id, None for a folder.
    """

    name: str
    identity: str
    source: str
    revision: str | None = None


def check_packages() -> None:
    """Check that what trains is installed, without importing it.

    Raises:
        ConfigError: names the packages that are missing, and how they are installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"fine-tuning needs packages that are not installed ({', '.join(missing)}): "
            f"{install('finetune')}"
        )


def check_folder(name: str) -> None:
    """Check that a base model which can only be a folder is one.

    Raises:
        ConfigError: it is not.
    """
    if not name.startswith("sample:"):
        with _named():
            local_folder(name)


def base_model(config: TrainingConfig) -> BaseModel:
    """Resolve the base model; the sample's is unpacked on first use.

    Raises:
        ConfigError: no such folder, hub id, revision or sample.
    """
    name = config.base_model
    if name.startswith("sample:"):
        return _sample(name, config.revision)
    with _named():
        identity, folder = model_identity(name, config.revision), local_folder(name)
        commit = None if folder else hub_commit(name, config.revision)
    return BaseModel(name, identity, str(folder or name), commit)


@contextmanager
def _named() -> Iterator[None]:
    """Name the key in an error about a model."""
    try:
        yield
    except ConfigError as e:
        raise ConfigError(f"training.base_model: {e}") from None


def _sample(name: str, revision: str | None) -> BaseModel:
    if name != SAMPLE or revision is not None:
        raise ConfigError(
            f"training.base_model: expected {SAMPLE}, which has no revision, found {name!r}"
            + (f" with revision {revision!r}" if revision else "")
        )
    if find_spec("gguf") is None:
        raise ConfigError(f"training.base_model: {SAMPLE} needs gguf: pip install gguf")
    from crowdselect_core.sample.variants import find_gguf

    gguf = find_gguf()
    digest = _sha256(str(gguf))
    return BaseModel(name, f"gguf:{digest}", str(_unpacked(gguf, digest)))


@lru_cache(maxsize=4)
def _sha256(file: str) -> str:
    with Path(file).open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _unpacked(gguf: Path, digest: str) -> Path:
    """Return the folder of the dequantised weights (bfloat16, 269 MB) in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    out = cache / "crowdselect" / digest[:16]
    if (out / "smollm2").is_dir():  # it has its name only once it is complete
        return out / "smollm2"
    import torch
    from transformers.utils.logging import disable_progress_bar

    from crowdselect_core.sample.variants import load_model, load_tokenizer, write_variants

    log.info("%-13s %s is unpacked into %s, once", "base-model", SAMPLE, out)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    model = load_model(gguf, torch.bfloat16)
    (folder,) = write_variants(model, load_tokenizer(gguf), out, [None])
    return folder
