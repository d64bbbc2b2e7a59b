"""The commands `python -m flows.NAME`: the config of each, and which keys are its flags.

All commands read the same file and the same environment. A command takes the flags of the keys
that the steps it runs read; a new command needs an entry here, its flags follow from its config.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.finetuning import FinetuneConfig
from crowdselect_core.config.flags import (
    EVALUATION,
    EXPERIMENT,
    GATES,
    PUSH,
    REPORT,
    SCORES,
    SELECTION,
    TRAINING,
    Option,
    Step,
    options_of,
)
from crowdselect_core.config.report import ReportConfig
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig

CONFIG, QUIET = "--config", "--quiet"
DRY_RUN = {"dry_run": "print what would be computed and what it costs, and end"}


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        about: what it does, the head of its `--help`.
        config: what it needs to know.
        steps: the steps that it runs beside the answers of the crowd.
        further: switches beside --dry-run by which it reports something and ends, name to help.
        on_pairs: switches by which it reports on two places and ends, name to help.
        asks: flags with a value by which it reports something and ends, name to metavar and help.
        only: the keys that are its flags, where it takes few; it has no dry run then.
        sample: whether the embedded sample stands in where no data set is named.
    """

    about: str
    config: type[SelectConfig] = SelectConfig
    steps: tuple[Step, ...] = (SCORES, SELECTION)
    further: Mapping[str, str] = field(default_factory=dict)
    on_pairs: Mapping[str, str] = field(default_factory=dict)
    asks: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    sample: bool = True

    @property
    def options(self) -> list[Option]:
        """Its flags that are config keys, in the order of the keys."""
        options = options_of(self.config)
        if self.only:
            return [o for o in options if ".".join(o.keys) in self.only]
        return [o for o in options if o.step is None or o.step in self.steps]

    @property
    def looks(self) -> dict[str, str]:
        """Its switches by which it reports something and ends, name to help."""
        return ({} if self.only else DRY_RUN) | dict(self.further)

    @property
    def flags(self) -> list[str]:
        """Everything that it takes."""
        looks = [switch(name) for name in (*self.looks, *self.asks, *self.on_pairs)]
        return [CONFIG, *(o.flag for o in self.options), *looks, QUIET, "--help"]


COMMANDS: dict[str, Command] = {
    "generate": Command(
        "Generate the answers of every model of the crowd; cached answers are not generated again.",
        steps=(),
    ),
    "score": Command(
        "Score the crowd's answers with the reward models; missing answers are generated first.",
        steps=(SCORES,),
        further={"check": "check the reward models for conformance, and end"},
    ),
    "select": Command(
        "Select the best instruction-response pairs by the wisdom of a crowd of LLMs. Without "
        "--dataset and --config, selects from the embedded sample.",
        steps=(SCORES, SELECTION, PUSH, GATES, REPORT),
        asks={"explain": ("ID", "print why the row with this instruction_id was chosen or not")},
    ),
    "finetune": Command(
        "Fine-tune a small model on the selection; a run that was killed goes on from its last "
        "checkpoint. Without --dataset and --config, selects from the embedded sample.",
        config=FinetuneConfig,
        steps=(SCORES, SELECTION, TRAINING),
    ),
    "reselect": Command(
        "Select again after rows were added; only the new rows are generated and scored.",
        config=ReselectConfig,
        steps=(SCORES, SELECTION, REPORT),
        further={"list": "list the selections of the series, and end"},
    ),
    "report": Command(
        "Make OUT/report.html again: of a selection from OUT/manifest.json and the store that it "
        "names, of an experiment from the tables in OUT.",
        config=ReportConfig,
        steps=(),
        only=("out",),
        sample=False,
    ),
    "evaluate": Command(
        "Evaluate the trained model, its base and others by the benchmarks of the key "
        "`evaluation`; what is missing is trained, answered and judged first. With --judgments, "
        "compute the results of judgment files; no model is asked.",
        config=EvaluateConfig,
        steps=(SCORES, SELECTION, TRAINING, EVALUATION),
        sample=False,
    ),
    "experiment": Command(
        "Compare methods of selection over replicates (key `experiment`): by their choices, or by "
        "models that are trained on them and evaluated. A grid that was killed goes on.",
        steps=(SCORES, SELECTION, TRAINING, EVALUATION, EXPERIMENT, REPORT),
        further={
            "preflight": "check models, licences, memory and judges of all cells, and end",
        },
        on_pairs={"compare": "compare the selections of two outputs that exist, and end"},
    ),
}


def switch(name: str) -> str:
    """Return a switch as it is written: `dry_run` is --dry-run."""
    return "--" + name.replace("_", "-")


def takers(flag: str) -> list[str]:
    """Return the commands that take a flag, e.g. ['select', 'reselect']."""
    return [name for name, command in COMMANDS.items() if flag in command.flags]
