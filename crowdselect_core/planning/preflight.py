"""What can be refused before anything is computed: checked first, not hours into a run."""

import logging
from collections.abc import Sequence

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.embedding.kmeans import check_clusters
from crowdselect_core.errors import ConfigError, CrowdError, DatasetError, nearest, shown
from crowdselect_core.ingest.open import notes_on_files
from crowdselect_core.models.token_count import counter
from crowdselect_core.planning.gate_check import check_gates
from crowdselect_core.planning.inputs import check_no_input
from crowdselect_core.planning.method_check import check_method
from crowdselect_core.selection.id_lists import read_ids
from crowdselect_core.selection.metric_weights import (
    check_families,
    check_student,
    method_weights,
)
from crowdselect_core.selection.row_budget import check_budget
from crowdselect_core.stages.missing_texts import NO_CLUSTERS, no_texts_note
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.answers import mode_of
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.store.out_files import check_replaceable

log = logging.getLogger("crowdselect")


def check(config: SelectConfig, trains: bool = False) -> None:
    """Refuse a resolved config that no data could satisfy.

    Args:
        config: the resolved config.
        trains: whether the run trains on the selection, or on its pairs.

    Raises:
        CrowdError: stability has weight and no family has two sizes; headroom has weight and the
            crowd no student; the reference model is not of the crowd.
        ConfigError: a list of ids or a tokenizer that cannot be read; pairs of a single model's
            answers; a method that lacks what it ranks by (`method_check`).
        DatasetError: the data set lacks what the method reads.
    """
    check_choice(config, trains)
    check_method(config)
    check_gates(config)
    for path in (config.include, config.exclude):
        if path is not None:
            read_ids(path)
    if config.budget_tokens is not None:
        counter(config.tokenizer, "tokenizer")


def check_choice(config: SelectConfig, trains: bool = False) -> None:
    """Check of `check` what the config alone tells: no file is read, nothing is imported.

    Raises:
        CrowdError: as `check`.
        ConfigError: pairs of a single model's answers.
    """
    names = [m.name for m in config.models]
    wanted = config.reference_model
    if wanted is not None and wanted not in names:
        raise CrowdError(
            f"reference_model {wanted!r} is not in the crowd{nearest(wanted, names)} "
            f"({shown(names)})"
        )
    weights = method_weights(config.method, config.weights)
    if weights is not None:
        check_families(config.models, weights)
        check_student(config.everyone, weights)
    _check_pairs(config, trains)


def _check_pairs(config: SelectConfig, trains: bool) -> None:
    loss = config.training.loss if config.training and config.training.on_pairs else None
    if not (config.wants_pairs or (trains and loss)) or len(mode_of(config).models) > 1:
        return
    wanted = "export pairs" if "pairs" in config.export else f"training.loss {loss}"
    raise ConfigError(
        f"{wanted}: response {config.response_mode!r} leaves one model, and a pair needs two; "
        "name a list of models, or leave response out"
    )


def check_out(config: SelectConfig, names: Sequence[str]) -> None:
    """Find out before the work whether its results can be written.

    Args:
        config: the resolved config.
        names: the files that the run may write into OUT.

    Raises:
        StorageError: OUT cannot be written.
        ConfigError: it covers an input, or holds a file of such a name that is not a run's own.
    """
    place = open_backend(config.out)
    check_no_input(config, names)
    place.check_writable()
    check_replaceable(place, names, config.out)


def check_writable(out: str) -> None:
    """Find out before the work whether files can be written to OUT.

    Raises:
        StorageError: they cannot.
    """
    open_backend(out).check_writable()


def describe_data(config: SelectConfig) -> None:
    """Log a line each on what a prompt is made of, and on the files that are not read."""
    log.info("%-13s %s", "prompt", open_dataset(config).prompt_line())
    for note in notes_on_files(config.dataset):
        log.warning("%s: %s", config.dataset.path, note)


def check_data(config: SelectConfig, instructions: Ref) -> None:
    """Refuse what this data set cannot give, once its columns are known.

    Raises:
        DatasetError: training layouts, pairs or tokens of a data set without texts.
    """
    if not instructions.is_computed:
        return  # a dry run before the data set was read: nothing is known of it
    has_texts = instructions.facts["instructions"] and instructions.facts["answers"]
    if has_texts:
        return
    what = "answers" if instructions.facts["instructions"] else "instruction texts"
    if config.quality is not None:
        raise DatasetError(
            f"{config.dataset.path}: has no {what}, so the quality gates have nothing to look at; "
            "leave quality out"
        )
    if config.push_to is not None:
        raise DatasetError(
            f"{config.dataset.path}: has no {what}, so there is nothing to upload; leave push_to "
            "out"
        )
    if config.export:
        raise DatasetError(
            f"{config.dataset.path}: has no {what}, so there is nothing to write as "
            f"{shown(config.export)}; leave --export out"
        )
    if config.budget_tokens is not None:
        raise DatasetError(
            f"{config.dataset.path}: has no {what}, so tokens cannot be counted; use "
            "--budget, in rows"
        )
    log.warning("%s", no_texts_note(instructions.facts))


def check_rows(config: SelectConfig, rows: int, clusters: bool) -> None:
    """Refuse a budget or clusters that so many rows cannot give; gates only take rows away.

    Args:
        config: the resolved config.
        rows: that may be eligible, at most.
        clusters: whether centres are fitted to these rows.

    Raises:
        SelectionError: more rows, or more clusters, are asked for.
    """
    if config.quality is not None and config.quality.only:
        return  # nothing is chosen
    if config.budget_tokens is None and not config.allow_short:
        check_budget(config.budget, rows)
    if clusters:
        check_clusters(config.clusters, rows)


def has_vectors(config: SelectConfig, has_texts: bool) -> bool:
    """Tell whether rows can be clustered: their texts are embedded, or vectors are a column."""
    return has_texts or config.embedder.kind == "column"


def is_balanced(config: SelectConfig, instructions: Ref) -> bool:
    """Say whether there are clusters to balance over.

    Raises:
        DatasetError: another number of clusters than the default was asked for, and there is
            nothing to embed.
    """
    if config.clusters <= 1:
        return False
    if not instructions.is_computed:
        return True  # as far as is known before the data set was read
    if has_vectors(config, instructions.facts["instructions"]):
        return True
    if config.clusters != SelectConfig.model_fields["clusters"].default:
        raise DatasetError(
            f"{config.dataset.path}: has no instruction texts to embed, so --clusters "
            f"{config.clusters} is not possible; pass --clusters 0, or --embedder column:NAME"
        )
    log.warning("%s", NO_CLUSTERS)
    return False
