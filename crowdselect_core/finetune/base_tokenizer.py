"""The tokenizer of a model that a command trained: its own, or else the base model's."""

import logging
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.files import is_name

log = logging.getLogger("crowdselect")

# A folder with one of these has a tokenizer.
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model")
FILES = (
    *TOKENIZERS, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "merges.txt", "chat_template.jinja",
)  # fmt: skip


def add_tokenizer(folder: Path, base: BaseModel, where: str) -> list[str]:
    """Give a model without a tokenizer that of its base model; an adapter needs none of its own.

    Args:
        folder: of the model; files that are there stay as they are.
        base: the model that it was trained from.
        where: the config's key, for messages.

    Returns:
        The names of the files that were added.

    Raises:
        ConfigError: neither has one, or the hub does not give the base model's.
    """
    if (folder / "adapter_config.json").is_file() or _has_tokenizer(folder):
        return []
    source = _files_of(base, where)
    if not _has_tokenizer(source):
        raise ConfigError(
            f"{where}: expected a tokenizer in {{output_dir}} (such as tokenizer.json), and "
            f"base model {base.name!r} has none either: have the command save one there"
        )
    there = {file.name for file in folder.iterdir()}
    added = [f.name for f in source.iterdir() if _is_one(f, FILES) and f.name not in there]
    for name in added:
        shutil.copyfile(source / name, folder / name)
    log.info("%-13s the command saved no tokenizer: that of %s is stored", "finetune", base.name)
    return added


def _has_tokenizer(folder: Path) -> bool:
    return any(_is_one(file, TOKENIZERS) for file in folder.iterdir())


def _is_one(file: Path, patterns: tuple[str, ...]) -> bool:
    named = is_name(file.name) and any(fnmatchcase(file.name, p) for p in patterns)
    return named and file.is_file()


def _files_of(base: BaseModel, where: str) -> Path:
    if base.revision is None:
        return Path(base.source)
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(base.source, revision=base.revision, allow_patterns=list(FILES))
    except Exception as e:  # whatever the hub or the network raise
        raise ConfigError(
            f"{where}: no tokenizer in {{output_dir}}, and that of {base.name!r} cannot be loaded: "
            f"{first_line(e)}: have the command save one there"
        ) from None
    return Path(found)
