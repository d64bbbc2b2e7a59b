"""The steps of the methods beside the crowd's metrics: what they rank by, made or read."""

from collections.abc import Sequence

from crowdselect_core.annotate.factory import annotates
from crowdselect_core.config.methods import column_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import ANNOTATIONS, COLUMN_VALUES, LENGTHS
from crowdselect_core.stages.refs import Ref
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
    if annotates(config):
        if run is run_task:
            return tasks.annotations(config, *rows)
        return run(ANNOTATIONS, config, *rows)
    if config.method == "deita":
        return run(COLUMN_VALUES, *given, config.deita.columns)
    return None


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
