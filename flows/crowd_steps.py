"""The steps that the flows share: generate and score what the data set does not have."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.planning import preflight
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.zoo import Member, Scored, dataset_of
from crowdselect_core.stages.graph import (
    DATASET_RESPONSES,
    INSTRUCTIONS,
    PROMPTS,
    ZOO,
)
from crowdselect_core.stages.refs import Ref
from tasks import cancellation
from tasks import crowd as tasks
from tasks.stage_task import run

log = logging.getLogger("crowdselect")

T = TypeVar("T")

C = TypeVar("C", bound=SelectConfig)

LOOK_SECONDS = 0.5
REPAIRS = 20  # corrupt artifacts that one run computes again before it gives up


def repaired(config: C, story: Callable[[C], T]) -> T:
    """Run a story; an artifact that is corrupt is computed again, and it alone."""
    for _ in range(REPAIRS):
        try:
            return story(config)
        except DamagedArtifact as damage:
            log.warning("%s; computing it again", damage)
    raise DamagedArtifact(f"{config.store}: still corrupt after {REPAIRS} repairs; check the disk")


def prompted(
    config: SelectConfig, lacks: MissingWork, earlier: Ref | None = None
) -> tuple[Ref, Ref]:
    """Read the instructions and name their prompts."""
    own = without_missing(config, lacks)
    preflight.describe_data(own)
    instructions = run(INSTRUCTIONS, own, earlier)
    return instructions, run(PROMPTS, own, instructions)


def answered(config: SelectConfig, lacks: MissingWork, prompts: Ref) -> list[Answered]:
    """Have every model that lacks answers asked, all at once; take the others from the data set.

    Raises:
        TooManyFailures: of some models too many calls failed; the others are finished first.
    """
    own, absent = without_missing(config, lacks), {m.name for m in lacks.answers}
    refs = {
        m.name: run(DATASET_RESPONSES, own, prompts, m.name)
        for m in config.everyone
        if m.name not in absent
    }
    futures = {
        m.name: tasks.responses.of(m.name, tasks.tags(m)).submit(config, lacks, prompts, m)
        for m in lacks.answers
    }
    refs |= finished(futures)
    return [Answered(m, refs[m.name]) for m in config.everyone]


def scored(config: SelectConfig, lacks: MissingWork, crowd: list[Answered]) -> list[Member]:
    """Have every reward model score the crowd's answers.

    Raises:
        TooManyFailures: of some reward models too many calls failed; the others are finished.
    """
    futures = {
        r.name: tasks.rewards.of(r.name, tasks.tags(r)).submit(config, lacks, r, crowd)
        for r in lacks.scores
    }
    refs = finished(futures)
    heads = {name: tuple(found[0].facts["heads"]) for name, found in refs.items()}
    return [
        Member(one, tuple(Scored(name, heads[name], refs[name][i]) for name in sorted(refs)))
        for i, one in enumerate(crowd)
    ]


def zoo(
    config: SelectConfig, lacks: MissingWork, earlier: Ref | None = None
) -> tuple[SelectConfig, list[Ref]]:
    """Make the answers and scores that the data set lacks, and return the config of the whole.

    Args:
        config: whole.
        lacks: what has to be made.
        earlier: the instructions of the data set as it was; see `stages.select.instructions`.
    """
    tasks.check_engines(config, lacks)
    tasks.check_scorers(config, lacks)
    return zoo_of(config, lacks, *prompted(config, lacks, earlier))


def zoo_of(
    config: SelectConfig,
    lacks: MissingWork,
    instructions: Ref,
    prompts: Ref,
    reference: Ref | None = None,
) -> tuple[SelectConfig, list[Ref]]:
    """Make the answers and scores of some instructions.

    Args:
        config: whole.
        lacks: what has to be made.
        instructions: the rows.
        prompts: theirs.
        reference: metrics of other rows, by whose means and deviations samples are compared.
    """
    crowd = answered(config, lacks, prompts)
    members = scored(config, lacks, crowd)
    made = run(ZOO, without_missing(config, lacks), prompts, members, reference)
    refs = [a.responses for a in crowd] + [s.rewards for m in members for s in m.scored]
    return dataset_of(config, made), [instructions, prompts, *refs, made]


def finished(futures: dict[str, PrefectFuture[Any]]) -> dict[str, Any]:
    """Wait for all, and only then raise what one of them raised."""
    try:
        for future in futures.values():
            # In short waits: a signal is seen between them, and not while a lock is waited for.
            while not future.state.is_final():
                future.wait(timeout=LOOK_SECONDS)
    except BaseException:  # Ctrl-C, SIGTERM: the threads see it at their next call
        cancellation.ask()
        raise
    results = {n: f.result(raise_on_failure=False) for n, f in sorted(futures.items())}
    errors = [r for r in results.values() if isinstance(r, BaseException)]
    if errors:
        raise tasks.failures(errors)
    return results


def told(stages: Sequence[Ref]) -> list[dict[str, Any]]:
    """Return what the closing summary shows of the stages."""
    return [ref.model_dump(include={"stage", "rows", "cached", "seconds"}) for ref in stages]
