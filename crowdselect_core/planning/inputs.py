"""What a run reads lies where it writes: refused, since nothing that is read is ever replaced."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from fsspec.utils import glob_translate

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, UserError, shown
from crowdselect_core.ingest.listing import is_glob, list_files
from crowdselect_core.ingest.open import is_on_hub
from crowdselect_core.ingest.stored_zoo import is_artifact
from crowdselect_core.quality.benchmark_prompts import FILES
from crowdselect_core.urls import expanded, is_url


def check_no_input(config: SelectConfig, names: Sequence[str]) -> None:
    """Refuse an OUT in which the run would replace what it reads, or write beside its data.

    Args:
        config: the resolved config.
        names: the files that the run may write into OUT.

    Raises:
        ConfigError: names the input.
    """
    out = _place(config.out)
    for what, path in _inputs(config):
        folder, _, name = _place(path).rpartition("/")
        if folder == out and name in names:
            raise ConfigError(
                f"{config.out}: would replace {name}, the {what} that this run reads; name another "
                "--out"
            )
    _check_glob(config, names, out)
    if _is_folder(config.dataset.path) and _place(config.dataset.path) == out:
        raise ConfigError(
            f"{config.out}: is the folder of the data set, so the results would become data; name "
            "another --out"
        )


def _inputs(config: SelectConfig) -> Iterator[tuple[str, str]]:
    heldout = config.heldout.file if config.heldout else None
    for what, path in (
        ("include list", config.include),
        ("exclude list", config.exclude),
        ("list of held-out rows", heldout),
    ):
        if path is not None:
            yield what, path
    if config.quality is not None and config.quality.decontamination is not None:
        against = config.quality.decontamination.against
        yield from (("file of prompts", file) for path in against for file in _prompt_files(path))
    if config.method == "rds+" and config.rds.targets is not None:
        yield "file of targets", config.rds.targets
    dataset = config.dataset
    if is_artifact(dataset.path) or is_on_hub(dataset.path):
        return
    try:
        listing = list_files(dataset.path, dataset.storage_options, dataset.split, below=False)
    except UserError:  # nothing that could be replaced; who reads it says what is wrong
        return
    for file in listing.files:
        yield "data set", file.shown


def _prompt_files(path: str) -> list[str]:
    """Return a file of prompts, or those that a benchmark's folder may keep them in."""
    return [path, *(f"{path.rstrip('/')}/{name}" for name in FILES)]


def _check_glob(config: SelectConfig, names: Sequence[str], out: str) -> None:
    """Refuse an OUT whose files the data set's glob would read in the next run."""
    path = config.dataset.path
    if is_url(path) or not is_glob(path):
        return
    pattern = re.compile(glob_translate(str(Path.cwd() / expanded(path))))
    if read := [name for name in names if pattern.fullmatch(f"{out}/{name}")]:
        raise ConfigError(
            f"{config.out}: the data set's glob {path} would read {shown(read, 3)} there, so the "
            "results would become data; name another --out"
        )


def _is_folder(path: str) -> bool:
    return not is_url(path) and not is_glob(path) and Path(expanded(path)).is_dir()


def _place(path: str) -> str:
    """Return a place in one way of writing it; links are followed."""
    if is_url(path):
        return path.split("?", 1)[0].rstrip("/").removeprefix("file://")
    return str(Path(expanded(path)).resolve())
