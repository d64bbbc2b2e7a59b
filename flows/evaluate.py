"""The evaluation flow: a trained model, its base and others, measured by benchmarks and judges.

Whatever is missing is made first: the selection, the training, the answers, the verdicts. All of
it is in the store: a run that was killed goes on where it was, and nobody is asked twice. With
`judgments` no model is asked: the same files give the same leaderboard. Keys of judges come from
the environment (OPENAI_API_KEY) or from Prefect blocks.

Run it as `python -m flows.evaluate`, deploy it as `flows.evaluate.evaluate`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="evaluate"))

from dataclasses import dataclass
from typing import Any

from prefect import flow

from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import BenchmarkConfig, required
from crowdselect_core.config.finetune import required as required_training
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.calibration import Calibration
from crowdselect_core.evaluate.leaderboard import check_out
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.finetune import preflight as training_preflight
from crowdselect_core.planning import preflight
from crowdselect_core.planning.evaluation_forecast import evaluation_forecast, stored_model
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from flows import crowd_steps
from flows.finetune import check_file, data_of, trained_on
from flows.select import chosen
from tasks import evaluate as tasks
from tasks import finetune as training_tasks
from tasks import flow_runs, leaderboard
from tasks.evaluation_tags import answer_tags, benchmark_tags, judge_tags
from tasks.secrets import lend, secret


@flow(name="evaluate", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def evaluate(config: EvaluateConfig) -> Any:
    """Evaluate the trained model, its base and others, or compute the results of judgment files.

    Args:
        config: what to select and train, what to measure by, and where the leaderboard goes.
    """
    lend(config)
    config = config.resolved()
    check_out(config.out)
    if config.judgments is not None:
        return from_files(config)
    return crowd_steps.repaired(config, checked)


def from_files(config: EvaluateConfig) -> dict[str, Any]:
    """Compute the leaderboard of judgment files."""
    board = leaderboard.compute(config)
    leaderboard.publish(board["markdown"])
    return {"lines": board["lines"], "files": board["files"], "stages": []}


def checked(config: EvaluateConfig) -> dict[str, Any]:
    """Check what can be checked beforehand, then run the story."""
    check(config)
    return story(config)


def check(config: EvaluateConfig) -> None:
    """Refuse beforehand what could only fail later, a bill that is too high among it."""
    if config.trains:
        training = required_training(config.training)
        training_preflight.check(training, elsewhere=spreads(config))
    if config.selects:
        preflight.check(config, trains=True)
    tasks.check(config, stored_model(config, data_of))


def story(config: EvaluateConfig) -> dict[str, Any]:
    """Train where it is missing, have the models answer, judge, write and show the leaderboard."""
    found = measured(config)
    leaderboard.publish(found.board["markdown"])
    told = crowd_steps.stage_summaries(found.stages)
    return {"lines": found.board["lines"], "files": found.board["files"], "stages": told}


@dataclass(frozen=True)
class Measured:
    """What an evaluation came to.

    Args:
        stages: the artifacts, in order; the trained model comes last where one is trained.
        selection: what was trained on; None where nothing was selected.
        models: that were evaluated.
        board: the leaderboard, as `tasks.leaderboard.board` tells of it.
    """

    stages: list[Ref]
    selection: SelectionArtifacts | None
    models: list[Candidate]
    board: dict[str, Any]


def measured(config: EvaluateConfig, whole: EvaluateConfig | None = None) -> Measured:
    """Train where it is missing, have the models answer, judge, write the leaderboard.

    Args:
        config: what is selected, trained and measured.
        whole: whose answers to the held-out prompts count, where the crowd or the reward models of
            `config` are a part of it.
    """
    early = heldout(config, None) if not config.selects else []
    stages, selection, data = trained(config)
    models = tasks.models(config, stages[-1] if config.trains else None)
    futures = {
        m.name: tasks.answers.of(m.name, answer_tags(config, m)).submit(config, m) for m in models
    }
    crowd_steps.finished(futures)
    calibrations = [
        tasks.calibrate.of(j.name, judge_tags(j))(config, j)
        for j in required(config.evaluation).calibrated_judges
    ]
    drawn = early
    if config.selects:
        drawn = heldout(whole, None) if whole is not None else heldout(config, selection)
    stages = [*drawn, *stages]
    outcomes = benchmarked(config, models, stages, calibrations)
    warned = tasks.overlaps(config, data, next(iter(drawn), None)) if config.trains else []
    board = leaderboard.board(config, outcomes, calibrations, warned)
    return Measured(stages, selection, models, board)


def named(config: EvaluateConfig) -> list[tuple[str, BenchmarkConfig]]:
    """Return the benchmarks with their names."""
    return [(b.name or b.kind, b) for b in required(config.evaluation).benchmarks]


def benchmarked(
    config: EvaluateConfig,
    models: list[Candidate],
    stages: list[Ref],
    calibrations: list[Calibration],
) -> list[tuple[str, Outcome]]:
    """Measure by one benchmark after the other; a judge stays the model that it was found to be."""
    snapshots = {c.judge: c.snapshot for c in calibrations if c.snapshot is not None}
    outcomes = []
    for name, one in named(config):
        task = tasks.benchmark.of(name, benchmark_tags(config, one))
        outcomes.append((name, task(config, one, models, stages, dict(snapshots))))
        snapshots |= outcomes[-1][1].snapshots
    return outcomes


def heldout(config: EvaluateConfig, selection: SelectionArtifacts | None) -> list[Ref]:
    """Return the held-out rows and the answers to them, as far as a benchmark asks for them.

    A file that is trained on may hold no held-out prompt, whatever the benchmarks ask for.
    """
    if not config.needs_heldout:
        return check_file(config) if config.trains_on_file else []

    def check(drawn: Ref) -> None:
        if config.trains_on_file:
            training_tasks.check_file(config, drawn)

    return crowd_steps.heldout_rows(
        config, selection, answers=config.needs_heldout_answers, check=check
    )


def trained(
    config: EvaluateConfig,
) -> tuple[list[Ref], SelectionArtifacts | None, Ref | None]:
    """Select and train what the store lacks; the trained model comes last of the stages.

    Returns:
        The stages; the selection, and what was trained on of it: None where a file was.
    """
    if not config.trains:
        return [], None, None
    training = required_training(config.training)
    train = training_tasks.train.of(training.base_model, training_tasks.tags(config))
    if not config.selects:
        return [train(config, None)], None, None
    selection = chosen(config)
    data = trained_on(selection)
    return [*selection.stages, train(selection.config, data)], selection.inputs, data


def dry_run(config: EvaluateConfig) -> list[str]:
    """Say what would be trained, asked and judged, and what it would cost."""
    return evaluation_forecast(config, data_of, secret)
