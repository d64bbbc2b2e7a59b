"""Which files of a folder belong to a split: those whose names begin with it, as `datasets` has it.

`train-00000-of-00002.parquet`, `test.jsonl` and `validation/part-0.parquet` name their splits.
Where no name begins so, a split's word may stand elsewhere in it: `data-train.parquet`.
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
# Which words of a name count: the first, or all where no file's first word is a split.
_FIRST, _ANYWHERE = slice(1), slice(None)
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
    named = splits_of(files)
    places = _FIRST if named else _ANYWHERE
    found = [f for name, f in files.items() if _belongs(name, split, places)]
    named = named or splits_of(files, places)
    if found or (split == "train" and not named):
        return found or list(files.values())
    known = f" (splits: {shown(named)})" if named else ", its files name none"
    what = "is one file and " if single else ""
    raise DatasetError(
        f"{path}: {what}has no split {split!r}{nearest(split, named)}{known}; files of a split "
        f"begin with its name ({split}-00000-of-00001.parquet); correct dataset.split or leave it "
        "out"
    )


def splits_of(names: Iterable[str], places: slice = _FIRST) -> list[str]:
    """Return the splits that files name, in name order."""
    return sorted({s for name in names if (s := _split_of(name, places)) is not None})


def _belongs(path: str, split: str, places: slice) -> bool:
    wanted = _SPLIT_OF.get(split.lower(), split.lower())
    words = _words(path, places)
    return _split_of(path, places) == wanted or any(word == split.lower() for word in words)


def _split_of(path: str, places: slice) -> str | None:
    return next((_SPLIT_OF[word] for word in _words(path, places) if word in _SPLIT_OF), None)


def _words(path: str, places: slice) -> list[str]:
    """Return the words at some places of a file's name and of its folder's."""
    parts = reversed(path.split("/")[-2:])
    return [word for part in parts for word in re.split(r"[-_.]", part.lower())[places]]
