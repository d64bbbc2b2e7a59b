"""The steps of the methods beside the crowd's metrics: what they rank by, made or read."""

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.methods import column_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import ANNOTATIONS, COLUMN_VALUES, LENGTHS
from crowdselect_core.stages.refs import Ref
from tasks import annotate as tasks
from tasks.stage_task import run as run_task


def values(
    config: SelectConfig,
    given: tuple[SelectConfig, Ref],
    rows: tuple[Ref, Ref, Ref],
    run: Runner,
) -> Ref | None:
    """Return what the config's method ranks by, None where it reads the metrics alone.

    Args:
        config: the method.
        given: the config of the data set as the user gave it, and its instructions.
        rows: scores, metrics and answers.
        run: what runs a stage.
    """
    if (column := column_of(config.method)) is not None:
        return run(COLUMN_VALUES, *given, [column])
    if config.method == "length":
        return run(LENGTHS, config, *rows, config.length.of, config.length.tokenizer)
    if config.method == "deita":
        return run(COLUMN_VALUES, *given, config.deita.columns)
    if annotates(config.method):
        if run is run_task:
            return tasks.annotations(config, *rows)
        return run(ANNOTATIONS, config, *rows)
    return None


def answer_lengths(
    config: SelectConfig, instructions: Ref, rows: tuple[Ref, Ref, Ref], run: Runner
) -> Ref | None:
    """Return the estimated tokens of the kept answers; None where the data set has no answers."""
    if instructions.is_computed and not instructions.facts["answers"]:
        return None
    return run(LENGTHS, config, *rows, "response", None)
