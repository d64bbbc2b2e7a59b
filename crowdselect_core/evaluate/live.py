"""What every live benchmark is given and gives back.

One object a benchmark of the config; `factory.open_benchmark` makes it. Its work is done in one
task, the answers of each model before in a task of their own; whatever is paid for goes into the
store as it comes, so that a run that was killed goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.evaluation import EvaluationConfig, required
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.generate.factory import Secret
from crowdselect_core.store.artifacts import Store

Report = Callable[[CallTracker], None]


@dataclass(frozen=True)
class Question:
    """What a model is asked: one or more turns, each after the answer to the one before.

    Args:
        id: of the question, unique in its benchmark.
        turns: the user's words.
        temperature: of the answers.
        max_tokens: of an answer.
        category: of the question, where it has one.
        history: messages that come before the first turn.
    """

    id: str
    turns: tuple[str, ...]
    temperature: float
    max_tokens: int
    category: str | None = None
    history: tuple[tuple[str, str], ...] = ()  # role, content


@dataclass(frozen=True)
class Tools:
    """What the work of a benchmark needs of the run around it.

    Args:
        config: of the run, resolved.
        store: for what is paid for.
        secret: from a block's name to the key that it holds.
        lent: waits for the devices that an engine takes (None: one device of this machine), and
            lends them; what comes are the GPUs, none without any.
        shown: shows the progress of calls while the block runs: a step and a name.
        stopped: whether the run was asked to stop.
        check: raises Stopped if so.
        artifacts: keys of the selection's artifacts by stage, where one was made.
        snapshots: the models that judges' servers reported earlier in this run, by judge.
        elsewhere: has a model of this library's engines answer on a cluster; None: here.
    """

    config: EvaluateConfig
    store: Store
    secret: Secret
    lent: Callable[[EngineConfig | None, str], AbstractContextManager[list[str]]]
    shown: Callable[[str, str], AbstractContextManager[Report]]
    stopped: Callable[[], bool]
    check: Callable[[], None]
    artifacts: Mapping[str, str] = field(default_factory=dict)
    snapshots: Mapping[str, str] = field(default_factory=dict)
    elsewhere: "Elsewhere | None" = None

    @property
    def evaluation(self) -> EvaluationConfig:
        """The section `evaluation`."""
        return required(self.config.evaluation)


class Elsewhere(Protocol):
    """What has a model answer on other machines; see `answers.answer`."""

    def __call__(
        self, questions: Sequence[Question], model: Candidate, tools: Tools
    ) -> CallTracker:
        """Have it answer what the store has no answer to."""
        ...


class Benchmark(Protocol):
    """A live benchmark."""

    name: str  # in the column `benchmark` of the leaderboard, and its folder in OUT

    @property
    def questions(self) -> Sequence[Question]:
        """What every model is asked beforehand; empty where a benchmark asks nothing."""
        ...

    def check(self, config: EvaluateConfig, models: Sequence[Candidate]) -> None:
        """Find out before anything is trained or asked whether the benchmark can be run.

        Args:
            config: of the run.
            models: all, with the one that is still to be trained.

        Raises:
            UserError: a file or a package is missing, or of another version; no model is the
                baseline.
        """
        ...

    def run(self, models: Sequence[Candidate], tools: Tools) -> Outcome:
        """Measure the models.

        Raises:
            UserError: answers or judgments are missing; what was paid for is stored.
        """
        ...
