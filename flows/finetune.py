"""The fine-tuning flow: a selection, and a small model that is trained on it.

What was selected or trained before is in the store; a training that was killed goes on from its
last checkpoint with the same losses. The base model is a folder, a hub id (HF_TOKEN from the
environment) or the sample's.

Run it as `python -m flows.finetune`, deploy it as `flows.finetune.finetune`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main(flow="finetune"))

from typing import Any

from prefect import flow

from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.finetune import required
from crowdselect_core.config.finetuning import FinetuneConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files, trained_model
from crowdselect_core.finetune import preflight as training_preflight
from crowdselect_core.planning import heldout, preflight
from crowdselect_core.planning.training_forecast import training_forecast
from crowdselect_core.reselection.record import SelectionRun
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.graph import PAIRS
from crowdselect_core.stages.refs import Ref
from flows import crowd_steps
from flows.select import chosen, written
from tasks import finetune as tasks
from tasks import flow_runs
from tasks.secrets import lend
from tasks.stage_task import run as run_task


@flow(name="finetune", version=flow_runs.VERSION, persist_result=False)
@flow_runs.tracked
def finetune(config: FinetuneConfig) -> Any:
    """Fine-tune a small model on the selection (key `training`), which is made where it is missing.

    Args:
        config: what to choose from, by what, what to train, and where the results go.
    """
    lend(config)
    config = config.resolved()
    training = required(config.training)
    training_preflight.check(training, elsewhere=spreads(config))
    if config.dataset is None:
        preflight.check_writable(config.out)
    else:
        preflight.check_out(config, selection_files.names_of(config) if config.selects else [])
    trained_model.check_replaceable(config.out)
    return crowd_steps.repaired(config, story)


def story(config: SelectConfig) -> dict[str, Any]:
    """Select, train, write OUT/model."""
    if required(config.training).train_file is not None:
        check_file(config)
        return trained(config, None)
    preflight.check(config, trains=True)
    selection = chosen(config)
    told = written(selection)
    data = trained_on(selection)
    made = trained(selection.config, data)
    new = [] if data in selection.stages else [data]  # the pairs, where none are exported
    return told | {
        "files": [*told["files"], *made["files"]],
        "lines": made["lines"],
        "stages": told["stages"] + crowd_steps.stage_summaries(new) + made["stages"],
    }


def check_file(config: SelectConfig) -> list[Ref]:
    """Refuse a file of training rows that holds a held-out prompt; return the held-out rows."""

    def check(drawn: Ref) -> None:
        tasks.check_file(config, drawn)

    if config.heldout is None:
        return []
    own = heldout.prompts_alone(config)
    return crowd_steps.heldout_rows(own, None, answers=False, check=check)


def trained_on(selection: SelectionRun, run: Runner = run_task) -> Ref:
    """Return what is trained on: the selection, or its preference pairs."""
    config, made = selection.config, selection.inputs
    if not required(config.training).on_pairs:
        return made.selection
    return made.pairs or run(PAIRS, config, made.scores, made.metrics, made.selection)


def trained(config: SelectConfig, data: Ref | None) -> dict[str, Any]:
    """Train on rows or pairs (None: on training.train_file), and show the model."""
    training = required(config.training)
    models = [tasks.train.of(training.base_model, tasks.tags(config))(config, data)]
    if training.merge:
        models.append(tasks.merge(config, models[0]))
    told = tasks.export(config, models[-1])
    if training.push_to:
        told["lines"].append(f"uploaded     to {tasks.push(config, models[-1])}")
    tasks.publish(config, told["lines"])
    return told | {"stages": crowd_steps.stage_summaries(models)}


def dry_run(config: SelectConfig) -> list[str]:
    """Say what would be selected and trained."""
    return training_forecast(config, data_of)


def data_of(config: SelectConfig, run: Runner) -> Ref:
    """Run the stages up to what is trained on."""
    return trained_on(chosen(config, run=run), run)
