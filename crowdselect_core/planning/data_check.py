"""The data set, opened and checked against its config: before a run, and in its dry run."""

from dataclasses import dataclass

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.finetuning import FinetuneConfig
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.finetune import preflight as training_preflight
from crowdselect_core.ingest.column_layout import ColumnLayout, is_long
from crowdselect_core.ingest.dataset import Dataset
from crowdselect_core.ingest.listing import kind_of, list_files
from crowdselect_core.ingest.open import is_on_hub, open_reader
from crowdselect_core.ingest.saved_dataset import is_saved_folder
from crowdselect_core.ingest.stored_zoo import is_artifact
from crowdselect_core.planning import heldout, preflight
from crowdselect_core.planning.missing_work import (
    MissingWork,
    answering,
    find_missing,
    scoring,
    without_missing,
)
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.urls import is_url

ROWS = 50_000  # of a partition, while rows are counted
SELECTING = ("select", "finetune", "evaluate", "reselect")
TRAINING = ("finetune", "evaluate")
# Bytes of a data set up to which it is opened once more. What is loaded as a whole is loaded again;
# JSON is scanned, and the run finds the scan; parquet has footers, so its size is no matter.
LOADED, SCANNED = 64 << 20, 256 << 20
SCANS = frozenset({"parquet", "jsonl", "ndjson", "json"})


@dataclass(frozen=True)
class CheckedData:
    """An open data set that fits its config.

    Args:
        missing: the answers and scores that it lacks, and that can be made.
        dataset: what it has by itself.
        layout: what its columns mean.
        rows: of it within the limit; no stage has more.
    """

    missing: MissingWork
    dataset: Dataset
    layout: ColumnLayout
    rows: int


def checked_data(config: SelectConfig, flow: str) -> CheckedData:
    """Open the data set and check all that is known of it before anything is computed.

    Args:
        config: the resolved config.
        flow: which flow would run.

    Raises:
        UserError: what the run would refuse: no such file, columns that do not fit, a budget or
            clusters above the rows.
    """
    if flow in SELECTING:
        preflight.check(config, trains=flow in TRAINING)
    return _opened(config, flow)


def _opened(config: SelectConfig, flow: str) -> CheckedData:
    missing = {"score": scoring, "generate": answering}.get(flow, find_missing)(config)
    heldout.check(config, missing)
    dataset = open_dataset(without_missing(config, missing) if missing else config)
    if flow in SELECTING:
        check_size(config, dataset)
    return CheckedData(missing, dataset, dataset.layout, rows_of(dataset))


def check_size(config: SelectConfig, dataset: Dataset) -> None:
    """Refuse a budget or clusters above the rows of a data set.

    Raises:
        UserError: see `preflight.check_rows`; the columns do not fit.
    """
    frozen = isinstance(config, ReselectConfig) and config.mode == "frozen"  # has clusters
    has_vectors = preflight.has_vectors(config, dataset.layout.instruction is not None)
    preflight.check_rows(config, rows_of(dataset), has_vectors and not frozen)


def rows_of(dataset: Dataset) -> int:
    """Return the rows of a data set within its limit."""
    return sum(part.rows for part in dataset.partitions(ROWS))


def check_beforehand(config: SelectConfig, flow: str) -> None:
    """Refuse a run by its files before anything is started for it, where that costs little.

    What lies on a server, large files that are read as a whole, and whatever else `checked_data`
    looks at (functions, tokenizers, files of prompts) are left to the run.

    Args:
        config: the resolved config.
        flow: which flow would run.

    Raises:
        UserError: see `checked_data`; files of the training, see its `check_files`.
    """
    training = _training(config)
    if training is not None:
        training_preflight.check_files(training)
    if not _reads_data(config, flow):
        return
    if flow in SELECTING:
        preflight.check_choice(config, trains=flow in TRAINING)
    if opens_fast(config.dataset):
        _opened(config, flow)


def opens_fast(config: DatasetConfig) -> bool:
    """Tell a data set that can be opened once more at little cost.

    Raises:
        DatasetError: nothing is there.
    """
    path, options = config.path, config.storage_options
    if is_artifact(path) or is_url(path) or is_on_hub(path):
        return False
    if is_saved_folder(path, options):
        return True
    files = list_files(path, options, config.split).files
    size, kinds = sum(file.size for file in files), {kind_of(file.path) for file in files}
    if size <= LOADED:
        return True
    quick = kinds == {"parquet"} or (kinds <= SCANS and size <= SCANNED)
    return quick and not is_long(open_reader(config).schema())


def _training(config: SelectConfig) -> TrainingConfig | None:
    """Return the one training of a run; an experiment has one for each of its cells."""
    trains = isinstance(config, FinetuneConfig) or (
        isinstance(config, EvaluateConfig) and config.trains
    )
    return config.training if trains else None


def _reads_data(config: SelectConfig, flow: str) -> bool:
    if isinstance(config, FinetuneConfig | EvaluateConfig):
        return config.selects
    if isinstance(config, ReselectConfig):
        return config.rollback_to is None
    return flow != "report"
