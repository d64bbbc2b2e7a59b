"""A Hugging Face hub id: resolved to its data files at one commit, which are read as they stream.

`datasets` says which files a configuration and split have; our own readers then read them through
the hub's fsspec file system, so that scores come without the texts and a killed run resumes by
shard. Nothing is downloaded as a whole and no code of the repository is run.
"""

import re
from collections.abc import Sequence

from crowdselect_core.errors import DatasetError, first_line, nearest, shown
from crowdselect_core.ingest.files import DataFile
from crowdselect_core.ingest.listing import SUFFIXES, is_data, kind_of
from crowdselect_core.store.backend.file_system import file_system
from crowdselect_core.util.extras import install

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(path: str) -> bool:
    """Tell `org/name` from a path; a local path of that name is looked for first by the caller."""
    return _HUB_ID.fullmatch(path) is not None and not path.lower().endswith(SUFFIXES)


def hub_files(
    path: str, name: str | None, split: str | None, revision: str | None
) -> list[DataFile]:
    """Return the data files of one split, pinned to the commit that `revision` names now.

    Raises:
        DatasetError: the extra is not installed, the hub cannot be reached, or there is no such
            data set, configuration or split.
    """
    try:
        from datasets import load_dataset_builder
    except ImportError:
        raise DatasetError(
            f"{path}: no such path, and reading it as a hub id needs datasets, which is not "
            f"installed: {install('hub')}"
        ) from None
    try:
        builder = load_dataset_builder(path, name, revision=revision)
    except Exception as e:  # hub, network and configuration errors have no common base
        raise DatasetError(
            f"{path}: no such path, and the hub could not be asked for it ({type(e).__name__}: "
            f"{first_line(e)}); check the name, the network, HF_TOKEN and HF_HUB_OFFLINE"
        ) from None
    return split_files(path, split or "train", builder.config.data_files or {})


def split_files(path: str, split: str, data_files: dict[str, Sequence[str]]) -> list[DataFile]:
    """Return the files of a split as `datasets` resolved them.

    Raises:
        DatasetError: there is no such split, or its files are neither parquet nor JSON Lines.
    """
    if split not in data_files:
        raise DatasetError(
            f"{path}: has no split {split!r}{nearest(split, data_files)} (found: "
            f"{shown(data_files)}); name one under dataset.split"
        )
    files = []
    for url in data_files[split]:
        fs, inner = file_system(str(url))
        files.append(DataFile(fs, inner, str(url), fs.info(inner)))
    if not all(is_data(f.path) and kind_of(f.path) not in ("csv", "arrow") for f in files):
        raise DatasetError(
            f"{path}: its files are neither parquet nor JSON Lines; pass the revision "
            "refs/convert/parquet, where the hub keeps a parquet copy"
        )
    return files
