"""What a method needs beside the crowd's scores: refused before anything runs where it lacks."""

from crowdselect_core.annotate import pre_experienced
from crowdselect_core.annotate.factory import annotates, kind_of
from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.config.finetune import required
from crowdselect_core.config.methods import column_of, is_function
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DatasetError
from crowdselect_core.ingest.number_columns import find_number
from crowdselect_core.models.token_count import counter
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reward.factory import Resources
from crowdselect_core.reward.function.process import search_path
from crowdselect_core.selection.methods.own_function import check_import
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.select.method_identity import method_identity, needs_vectors
from crowdselect_core.stages.select.method_ranking import is_rival
from crowdselect_core.util.extras import install

# Methods whose order says which rows are chosen, and not how good a row is.
WITHOUT_BOTTOM = ("k-center", "rds+", "instag")


def no_secret(block: str) -> str:
    """Refuse to look a key up: nothing is asked with one before the run."""
    raise ConfigError(f"block {block!r}: keys of blocks are read by the run itself")


def check_method(config: SelectConfig) -> None:
    """Refuse a resolved config whose method lacks what it ranks by.

    Raises:
        ConfigError: a key that the method needs is missing or cannot be used, a function cannot be
            imported; direction bottom, a token budget or a frozen reselection with a method that
            has none.
        DatasetError: the data set lacks the column or the texts that the method reads.
    """
    method = config.method
    if not is_rival(method):
        return
    if config.direction == "bottom" and method in WITHOUT_BOTTOM:
        raise ConfigError(
            f"method {method} has no bottom: it chooses rows one after the other; leave "
            "direction out"
        )
    if method in WITHOUT_BOTTOM and config.budget_tokens is not None:
        raise ConfigError(
            f"method {method} picks a number of rows: give --budget in rows in place of "
            "--budget-tokens"
        )
    frozen = isinstance(config, ReselectConfig) and config.mode == "frozen"
    ranks = frozen and config.rollback_to is None  # type: ignore[attr-defined]
    if ranks and holds_together(config):
        raise ConfigError(
            f"method {method} ranks all rows together, so new rows cannot be ranked alone: use "
            "--mode refit"
        )
    if method == "length":
        counter(config.length.tokenizer, "length.tokenizer")
    method_identity(config)
    if is_function(method):
        check_import(method, search_path(), config.function.time_limit)
    if annotates(config):
        _check_annotator(config)
    _check_data(config)


def holds_together(config: SelectConfig) -> bool:
    """Tell a method whose ranking of a row follows from the other rows."""
    method = config.method
    if pre_experienced.wanted(config):
        return True
    return needs_vectors(method) or is_function(method) or method in ("rds+", "instag")


def _check_annotator(config: SelectConfig) -> None:
    """Check that the method's model can be used, and trained first where it is to be.

    No weights are loaded.
    """
    if (own := pre_experienced.wanted(config)) is not None:
        from crowdselect_core.finetune import preflight as training_preflight

        training = required(pre_experienced.sample_config(config, own).training)
        training_preflight.check(training, elsewhere=spreads(config))
    engine = kind_of(config).engine(config)
    if isinstance(engine, OpenAIEngineConfig) and engine.api_key_block:
        return  # only the run itself reads blocks; it checks before the first row
    try:
        annotator = kind_of(config).open(config, Resources(no_secret))
    except ImportError as e:
        raise ConfigError(
            f"method {config.method} needs torch and transformers ({e}): {install('models')}"
        ) from None
    try:
        if engine is None:  # an endpoint is asked when there is something to ask it
            annotator.check()
    finally:
        annotator.close()


def _check_data(config: SelectConfig) -> None:
    """Look for the texts or the column that the method reads in the data set as it was given."""
    missing = find_missing(config)
    dataset = open_dataset(without_missing(config, missing))
    if (column := column_of(config.method)) is not None:
        find_number(dataset, column)
    if config.method == "deita" and not annotates(config):
        for name in config.deita.columns:
            find_number(dataset, name, turns=True)
    reads = config.method == "length" or needs_vectors(config.method) or annotates(config)
    vectors = needs_vectors(config.method) and config.embedder.kind == "column"
    if reads and not vectors and dataset.layout.instruction is None:
        raise DatasetError(
            f"{config.dataset.path}: has no instruction texts, which method {config.method} reads; "
            "choose another method"
        )
    if reads_responses(config) and not dataset.layout.answers and not missing.answers:
        raise DatasetError(
            f"{config.dataset.path}: has no answers, which method {config.method} reads; choose "
            "another method"
        )


def reads_responses(config: SelectConfig) -> bool:
    """Tell a method that reads the answer that would be kept."""
    if annotates(config):
        return kind_of(config).reads_response
    return config.method == "length" and config.length.of == "response"
