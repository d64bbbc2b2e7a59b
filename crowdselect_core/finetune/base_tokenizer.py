"""The tokenizer of a model that a command trained: its own, or else the base model's."""

import logging
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from crowdselect_core.errors import first_line
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

    Where there is none a warning says so: a finished training is never thrown away for it.

    Args:
        folder: of the model; files that are there stay as they are.
        base: the model that it was trained from.
        where: the config's key, for messages.

    Returns:
        The names of the files that were added.
    """
    if (folder / "adapter_config.json").is_file() or _has_tokenizer(folder):
        return []
    lacks, source = look_up(base)
    if source is None:
        log.warning(
            "%s: no tokenizer in {output_dir}, and %s: the model is stored without one; add it to "
            "OUT/model, and have the command save one next time",
            where, lacks,
        )  # fmt: skip
        return []
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


def look_up(base: BaseModel) -> tuple[str, Path | None]:
    """Return a folder with the tokenizer of a base model, downloaded where it lies on the hub.

    Returns:
        Why there is none, and the folder, None where there is none.
    """
    source = Path(base.source)
    if base.revision is not None:
        from huggingface_hub import snapshot_download

        patterns = list(FILES)
        try:
            source = Path(
                snapshot_download(base.source, revision=base.revision, allow_patterns=patterns)
            )
        except Exception as e:  # whatever the hub or the network raise
            return f"that of {base.name!r} cannot be loaded: {first_line(e)}", None
    if not source.is_dir() or not _has_tokenizer(source):
        return f"base model {base.name!r} has none either", None
    return "", source
