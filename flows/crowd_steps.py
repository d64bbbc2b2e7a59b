"""The steps that the flows share: generate and score what the data set does not have."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prefect.futures import PrefectFuture

from crowdselect_core.config.heldout import BEST
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DamagedArtifact
from crowdselect_core.planning import heldout, preflight
from crowdselect_core.planning.missing_work import MissingWork, find_missing, without_missing
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.zoo import Member, Scored, dataset_of
from crowdselect_core.stages.graph import (
    DATASET_RESPONSES,
    DUPLICATES,
    HELDOUT,
    HELDOUT_ANSWERS,
    INSTRUCTIONS,
    METRICS,
    PROMPTS,
    REMAINING,
    SCORES,
    ZOO,
)
from crowdselect_core.stages.heldout.answers import whose
from crowdselect_core.stages.refs import Ref, SelectionArtifacts, Split
from tasks import cancellation, devices
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


def split(config: SelectConfig, missing: MissingWork, raw: Ref, run: Runner = run) -> Split:
    """Set the held-out rows of a data set aside, what resembles them, and draw the subsample.

    Args:
        config: whole; without the keys `heldout` and `subsample` all rows remain.
        missing: what the data set has not.
        raw: its instructions.
        run: what runs a stage.
    """
    if config.heldout is None and config.subsample is None:
        return Split(raw)
    own, drawn, duplicates = without_missing(config, missing), None, None
    if config.heldout is not None:
        heldout.check(config, missing)
        drawn = run(HELDOUT, own, raw)
        heldout.check_drawn(own, raw, drawn)
        duplicates = run(DUPLICATES, own, raw, drawn)
    found = Split(run(REMAINING, own, raw, drawn, duplicates), drawn, duplicates)
    heldout.check_rest(own, found)
    return found


def heldout_rows(
    config: SelectConfig,
    selection: SelectionArtifacts | None,
    *,
    answers: bool,
    check: Callable[[Ref], None],
) -> list[Ref]:
    """Return the held-out rows, and the answers to them where they are wanted.

    Args:
        config: as the user gave it, resolved.
        selection: what was selected from the rest; None where nothing was, and only what the
            held-out rows need is computed.
        answers: whether answers are wanted.
        check: called with the held-out rows, before an answer to them is paid for.

    Raises:
        ConfigError: nothing is held out, or nobody's answers are named.
        TooManyFailures: too many calls of the model that answers failed.
    """
    if selection is not None:
        drawn, metrics = _of_selection(selection)
    else:
        drawn, metrics = _only_heldout(config, answers=answers)
    if drawn is None:
        raise ConfigError("heldout: nothing is held out; set heldout.share or heldout.file")
    check(drawn)
    return [drawn, *([heldout_answers(config, drawn, metrics)] if answers else [])]


def _of_selection(selection: SelectionArtifacts) -> tuple[Ref | None, Ref | None]:
    return selection.heldout, selection.metrics


def _only_heldout(config: SelectConfig, *, answers: bool) -> tuple[Ref | None, Ref | None]:
    """Draw the held-out rows; and the metrics of the rest, where the best answer takes them."""
    missing = find_missing(config)
    best = answers and config.heldout is not None and config.heldout.answers == BEST
    if best:
        heldout.check_best(config, missing)
    own = without_missing(config, missing)
    preflight.describe_data(own)
    raw = run(INSTRUCTIONS, own, None)
    found = split(config, missing, raw)
    if not best or len(config.reward_names) < 2:
        return found.heldout, None
    return found.heldout, run(METRICS, own, run(SCORES, own, found.rows))


def heldout_answers(config: SelectConfig, drawn: Ref, metrics: Ref | None) -> Ref:
    """Return the answers to the held-out prompts; those of a live crowd are generated.

    Args:
        config: as the user gave it, resolved.
        drawn: the held-out rows.
        metrics: of the rest.

    Raises:
        ConfigError: nobody's answers are named.
        TooManyFailures: too many calls of the model failed.
    """
    missing, name = find_missing(config), whose(config)
    if name == BEST and missing:
        return _best_of_live(config, missing, drawn, metrics)
    own = without_missing(config, missing)
    model = next((m for m in missing.answers if m.name == name), None)
    if model is None:
        return run(HELDOUT_ANSWERS, own, drawn, None, metrics)
    alone = MissingWork((model,), ())
    tasks.check_engines(config, alone)
    prompts = run(PROMPTS, own, drawn)
    responses = tasks.responses.of(name, devices.tags(model, config.executor))(
        config, missing, prompts, model
    )
    return run(HELDOUT_ANSWERS, own, drawn, Answered(model, responses))


def _best_of_live(
    config: SelectConfig, missing: MissingWork, drawn: Ref, metrics: Ref | None
) -> Ref:
    """Have the crowd answer the held-out prompts and the reward models score them: the best."""
    tasks.check_engines(config, missing)
    tasks.check_scorers(config, missing)
    prompts = run(PROMPTS, without_missing(config, missing), drawn)
    several = metrics if len(config.reward_names) > 1 else None
    whole, _ = zoo_of(config, missing, prompts, several)
    own = whole.model_copy(update={"heldout": config.heldout})
    rows = run(HELDOUT, own, run(INSTRUCTIONS, whole, None))  # all of them, by the same key
    return run(HELDOUT_ANSWERS, own, rows, None, several)


def prompted(
    config: SelectConfig, missing: MissingWork, earlier: Ref | None = None
) -> tuple[Ref, Split, Ref]:
    """Read the instructions, set the held-out ones aside, name the prompts of the rest."""
    heldout.check(config, missing)
    own = without_missing(config, missing)
    preflight.describe_data(own)
    raw = run(INSTRUCTIONS, own, earlier)
    found = split(config, missing, raw)
    return raw, found, run(PROMPTS, own, found.rows)


def answered(config: SelectConfig, missing: MissingWork, prompts: Ref) -> list[Answered]:
    """Have every model that lacks answers asked, all at once; take the others from the data set.

    Raises:
        TooManyFailures: of some models too many calls failed; the others are finished first.
    """
    own, absent = without_missing(config, missing), {m.name for m in missing.answers}
    refs = {
        m.name: run(DATASET_RESPONSES, own, prompts, m.name)
        for m in config.everyone
        if m.name not in absent
    }
    futures = {
        m.name: tasks.responses.of(m.name, devices.tags(m, config.executor)).submit(
            config, missing, prompts, m
        )
        for m in missing.answers
    }
    refs |= finished(futures)
    return [Answered(m, refs[m.name]) for m in config.everyone]


def scored(config: SelectConfig, missing: MissingWork, crowd: list[Answered]) -> list[Member]:
    """Have every reward model score the crowd's answers.

    Raises:
        TooManyFailures: of some reward models too many calls failed; the others are finished.
    """
    futures = {
        r.name: tasks.rewards.of(r.name, tasks.score_tags(config, r)).submit(
            config, missing, r, crowd
        )
        for r in missing.scores
    }
    refs = finished(futures)
    heads = {name: tuple(found[0].facts["heads"]) for name, found in refs.items()}
    return [
        Member(one, tuple(Scored(name, heads[name], refs[name][i]) for name in sorted(refs)))
        for i, one in enumerate(crowd)
    ]


def zoo(
    config: SelectConfig, missing: MissingWork, earlier: Ref | None = None
) -> tuple[SelectConfig, Split, list[Ref]]:
    """Make the answers and scores that the data set lacks, and return the config of the whole.

    Args:
        config: whole.
        missing: what has to be made.
        earlier: the instructions of the data set as it was; see `stages.select.instructions`.
    """
    tasks.check_engines(config, missing)
    tasks.check_scorers(config, missing)
    raw, found, prompts = prompted(config, missing, earlier)
    config, made = zoo_of(config, missing, prompts)
    return config, found, [raw, *found.made[-1:], *made]


def zoo_of(
    config: SelectConfig,
    missing: MissingWork,
    prompts: Ref,
    reference: Ref | None = None,
) -> tuple[SelectConfig, list[Ref]]:
    """Make the answers and scores of some instructions.

    Args:
        config: whole.
        missing: what has to be made.
        prompts: of the rows.
        reference: metrics of other rows, by whose means and deviations samples are compared.
    """
    crowd = answered(config, missing, prompts)
    members = scored(config, missing, crowd)
    made = run(ZOO, without_missing(config, missing), prompts, members, reference)
    refs = [a.responses for a in crowd] + [s.rewards for m in members for s in m.scored]
    return dataset_of(config, made), [prompts, *refs, made]


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


def stage_summaries(stages: Sequence[Ref]) -> list[dict[str, Any]]:
    """Return what the closing summary shows of the stages."""
    return [ref.model_dump(include={"stage", "rows", "cached", "seconds"}) for ref in stages]
