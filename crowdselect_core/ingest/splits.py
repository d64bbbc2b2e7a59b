"""Which files of a folder belong to a split: those whose names begin with it, as `datasets` has it.

`train-00000-of-00002.parquet`, `test.jsonl` and `validation/part-0.parquet` name their splits.
"""

import re
from collections.abc import Iterable, Mapping

from crowdselect_core.errors import DatasetError, nearest, shown
from crowdselect_core.ingest.files import DataFile

# By the split's name: the words that stand for it in the names of files and folders.
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation", "heldout"),
}
_SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}


def files_of_split(
    files: Mapping[str, DataFile], split: str | None, path: str, *, single: bool = False
) -> list[DataFile]:
    """Return the files of a split; all of them where none is asked for.

    Files that name no split at all are `train`, as in `datasets`.

    Args:
        files: of a folder or a glob, or one file, by their names below it.
        split: its name; None for all files.
        path: as the user wrote it.
        single: whether the path is one file.

    Raises:
        DatasetError: there is no such split.
    """
    if split is None:
        return list(files.values())
    found = [f for name, f in files.items() if _belongs(name, split)]
    named = splits_of(files)
    if found or (split == "train" and not named):
        return found or list(files.values())
    known = f" (found: {shown(named)})" if named else ", its files name none"
    what = "is one file and" if single else "holds no files of the split, it"
    raise DatasetError(
        f"{path}: {what} has no split {split!r}{nearest(split, named)}{known}; files of a split "
        f"begin with its name ({split}-00000-of-00001.parquet); mend dataset.split or leave it out"
    )


def splits_of(names: Iterable[str]) -> list[str]:
    """Return the splits that files name, in name order."""
    return sorted({s for name in names if (s := _split_of(name)) is not None})


def _belongs(path: str, split: str) -> bool:
    wanted = _SPLIT_OF.get(split.lower(), split.lower())
    return _split_of(path) == wanted or any(word == split.lower() for word in _words(path))


def _split_of(path: str) -> str | None:
    return next((_SPLIT_OF[word] for word in _words(path) if word in _SPLIT_OF), None)


def _words(path: str) -> list[str]:
    """Return the first words of a file's name and of its folder's."""
    return [re.split(r"[-_.]", part.lower())[0] for part in reversed(path.split("/")[-2:])]
