"""The steps of the methods beside the crowd's metrics: what they rank by, made or read."""

from collections.abc import Sequence

from crowdselect_core.annotate import pre_experienced
from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.finetune import required
from crowdselect_core.config.methods import column_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import (
    ANNOTATIONS,
    CENTERS,
    CLUSTERS,
    COLUMN_VALUES,
    EMBEDDER,
    EMBEDDINGS,
    LENGTHS,
    RANKING,
    SELECTION,
)
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.embedder import is_fitted
from tasks import annotate as tasks
from tasks.stage_task import run as run_task


def check(config: SelectConfig) -> None:
    """Check before anything is computed that the endpoint of the config's method can be reached."""
    if annotates(config):
        tasks.check_model(config)


def values(
    config: SelectConfig,
    given: tuple[SelectConfig, Ref],
    rows: tuple[Ref, Ref, Ref],
    run: Runner,
    instructions: Ref | None = None,
) -> Ref | None:
    """Return what the config's method ranks by, None where it reads the metrics alone.

    Args:
        config: the method.
        given: the config of the data set as the user gave it, and its instructions.
        rows: scores, metrics and answers.
        run: what runs a stage.
        instructions: of the rows, where the method's model may be trained on some first.
    """
    if (column := column_of(config.method)) is not None:
        return run(COLUMN_VALUES, *given, [column])
    if config.method == "length":
        return run(LENGTHS, config, *rows, config.length.of, config.length.tokenizer)
    if annotates(config):
        model = experienced(config, instructions, rows, run) if instructions else None
        if run is run_task:
            return tasks.annotations(config, *rows, model)
        return run(ANNOTATIONS, config, *rows, {}, model)
    if config.method == "deita":
        return run(COLUMN_VALUES, *given, config.deita.columns)
    return None


def experienced(
    config: SelectConfig, instructions: Ref, rows: tuple[Ref, Ref, Ref], run: Runner
) -> Ref | None:
    """Draw a clustered sample and train the method's model on it; None where it asks for none."""
    if (own := pre_experienced.wanted(config)) is None:
        return None
    config = pre_experienced.sample_config(config, own)
    scores, metrics, answers = rows
    clusters = None
    if own.clusters > 1:
        fitted = run(EMBEDDER, config, instructions) if is_fitted(config) else None
        embeddings = run(EMBEDDINGS, config, instructions, fitted, ())
        centers = run(CENTERS, config, embeddings)
        clusters = run(CLUSTERS, config, embeddings, centers)
    ranking = run(RANKING, config, metrics, answers)
    sample = run(SELECTION, config, scores, metrics, ranking, clusters)
    if run is not run_task:  # a dry run trains nothing
        return Ref.to_compute(pre_experienced.MODEL)
    from tasks import finetune as training_tasks

    name = required(config.training).base_model
    return training_tasks.train.of(name, training_tasks.tags(config))(config, sample)


def answer_lengths(
    config: SelectConfig,
    instructions: Ref,
    rows: tuple[Ref, Ref, Ref],
    run: Runner,
    earlier: Sequence[Ref] = (),
) -> Ref | None:
    """Return the estimated tokens of the kept answers; None where the data set has no answers.

    Args:
        config: which answer is kept.
        instructions: of the rows.
        rows: scores, metrics and answers.
        run: what runs a stage.
        earlier: lengths of the same kept answers, which are not read again.
    """
    if instructions.is_computed and not instructions.facts["answers"]:
        return None
    return run(LENGTHS, config, *rows, "response", None, earlier)
