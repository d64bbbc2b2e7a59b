"""The tasks of a live crowd: answers and scores, and what is written of them."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from crowdselect_core.cluster import scoring as spread
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.reward import ClassifierReward, LikelihoodReward, RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import long_tables
from crowdselect_core.generate.call_tracker import CallTracker, TooManyFailures
from crowdselect_core.generate.factory import check_all, engine_of
from crowdselect_core.planning.missing_work import MissingWork, without_missing
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.report.agreement import agreement, agreement_lines
from crowdselect_core.report.generation_summary import (
    answer_lines,
    answer_summary,
    score_lines,
    score_summary,
)
from crowdselect_core.report.text import LONG, markdown_text
from crowdselect_core.reward.conformance_gate import conform
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.stages.base import How
from crowdselect_core.stages.crowd import generation
from crowdselect_core.stages.crowd.answer_texts import Answered
from crowdselect_core.stages.crowd.responses import RESPONSES
from crowdselect_core.stages.crowd.rewards import REWARDS, reference_of, score
from crowdselect_core.stages.crowd.zoo import Member
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from tasks import cancellation, devices
from tasks.progress import shown
from tasks.secrets import secret
from tasks.stage_task import OPTIONS, ref_of, state_task

log = logging.getLogger("crowdselect")

Report = Callable[[CallTracker], None]
# Scores the answers of one model; returns what came of the calls, and the heads' names.
Scoring = Callable[[Answered, Report], tuple[CallTracker, Sequence[str]]]


@state_task("check-engines")
def check_engines(config: SelectConfig, missing: MissingWork) -> State[None]:
    """Check within seconds that every model which is to answer can be reached."""
    there = StoredLookup(config, missing, Store(config.store))
    models = [m for m in missing.answers if there.stored_answers(m) is None]
    hosts = {m.name: devices.host(config.executor, m) for m in models}
    check_all({m.name: engine_of(m, secret, host=hosts[m.name]) for m in models})
    return Completed(message=f"{len(models)} models checked", data=None)


@state_task("responses")
def responses(
    config: SelectConfig, missing: MissingWork, prompts: Ref, model: CrowdModel
) -> State[Ref]:
    """Generate the answers of one model that are missing in the store, and write its table."""
    cancellation.check()
    started, store, own = time.monotonic(), Store(config.store), without_missing(config, missing)
    wanted = RESPONSES.spec(own, prompts, model)
    found = store.find(wanted)
    if found is not None:
        log.info("%-13s %s: Cached, %s rows", "responses", model.name, f"{found.rows:,}")
        return cached(ref_of(found, started, cached=True), wanted)
    host = devices.host(config.executor, model)
    with shown("responses", model.name) as report, devices.lent(model, host) as gpus:
        cancellation.check()  # it may have waited long for its device
        engine = engine_of(model, secret, gpus, host)
        engine.stopped = cancellation.asked
        for limit in engine.limits:
            log.info("%-13s %s: %s", "responses", model.name, limit)
        with closing(engine):
            calls = generation.generate(own, store, prompts, model, engine, report)
    spec = RESPONSES.spec(own, prompts, model, calls.failed)
    table = RESPONSES.build(store, spec, How(), own, prompts, model, calls.failed)
    ref = ref_of(table, started, cached=False)
    tell(model.name, ref, calls)
    return Completed(message=f"computed: {spec.folder}", data=ref)


@state_task("check-scorers")
def check_scorers(config: SelectConfig, missing: MissingWork) -> State[None]:
    """Check within seconds that every reward model can score, before an answer is generated."""
    there = StoredLookup(config, missing, Store(config.store))
    rewards = [r for r in missing.scores if not there.is_scored(r)]
    for reward in rewards:
        scorer = scorer_of(reward, Resources(secret, host=devices.host(config.executor, reward)))
        try:
            scorer.check()
        finally:
            scorer.close()
    return Completed(message=f"{len(rewards)} reward models checked", data=None)


def score_tags(config: SelectConfig, reward: RewardConfig) -> list[str]:
    """Return the tags of a reward model's task; scores of a cluster take no device of this one."""
    if spread.spreads(config, reward):
        return ["engine-ray"]
    return devices.tags(reward, config.executor)


@state_task("rewards")
def rewards(
    config: SelectConfig, missing: MissingWork, reward: RewardConfig, crowd: list[Answered]
) -> State[list[Ref]]:
    """Score the answers that have no score yet, and write the tables of scores."""
    cancellation.check()
    started, store, own = time.monotonic(), Store(config.store), without_missing(config, missing)
    reference = reference_of(reward, crowd)
    refs: dict[str, Ref] = {}
    for answered in crowd:
        found = store.find(REWARDS.spec(own, reward, answered, reference))
        if found is not None:
            refs[answered.model.name] = ref_of(found, started, cached=True)
    left = [a for a in crowd if a.model.name not in refs]
    if left:
        with _scoring(own, store, reward, reference) as scoring:
            for answered in left:
                began = time.monotonic()
                with shown("rewards", f"{reward.name}-{answered.model.name}") as report:
                    calls, heads = scoring(answered, report)
                inputs = (reward, answered, reference, calls.failed, heads)
                table = REWARDS.build(store, REWARDS.spec(own, *inputs), How(), own, *inputs)
                ref = ref_of(table, began, cached=False)
                tell(f"{reward.name} of {answered.model.name}", ref, calls)
                refs[answered.model.name] = ref
    told = [refs[a.model.name] for a in crowd]
    if not left:
        log.info("%-13s %s: Cached", "rewards", reward.name)
        return Completed(name="Cached", message="in the store", data=told)
    return Completed(message=f"{len(left)} of {len(crowd)} models scored", data=told)


@contextmanager
def _scoring(
    config: SelectConfig, store: Store, reward: RewardConfig, reference: Answered | None
) -> Iterator[Scoring]:
    """Give what scores the answers of a model: workers of a Ray cluster, or this process."""
    if spread.spreads(config, reward):
        if not isinstance(reward, ClassifierReward | LikelihoodReward):
            raise TypeError(f"{reward.name}: {reward.kind} scores in this process")
        model = reward
        yield lambda answered, report: spread.score(
            config, store, model, answered, report, cancellation.check
        )
        return
    host = devices.host(config.executor, reward)
    with devices.lent(reward, host) as gpus:
        cancellation.check()  # it may have waited long for its device
        with closing(
            scorer_of(reward, Resources(secret, gpus, cancellation.asked, host))
        ) as scorer:
            conform(reward, scorer)

            def here(answered: Answered, report: Report) -> tuple[CallTracker, Sequence[str]]:
                calls = score(config, store, reward, answered, reference, scorer, report)
                return calls, scorer.heads

            yield here


@state_task("export-responses")
def export_responses(
    config: SelectConfig, missing: MissingWork, crowd: list[Answered]
) -> State[dict[str, Any]]:
    """Write OUT/responses.parquet, unless it is there and current."""
    cancellation.check()
    store = Store(config.store)
    summary = answer_summary(store, crowd)
    told = {
        "lines": answer_lines(summary),
        "files": [long_tables.RESPONSES, long_tables.GENERATION],
    }
    key = long_tables.responses_key(crowd)
    if long_tables.is_there(config, long_tables.GENERATION, long_tables.RESPONSES, key):
        return Completed(name="Cached", message=f"already in {config.out}", data=told)
    long_tables.write_responses(without_missing(config, missing), store, crowd, summary)
    return Completed(message=f"written to {config.out}", data=told)


@state_task("export-scores")
def export_scores(config: SelectConfig, members: list[Member]) -> State[dict[str, Any]]:
    """Write OUT/scores.parquet, unless it is there and current."""
    cancellation.check()
    store = Store(config.store)
    summary: dict[str, Any] = {"scores": score_summary(members)}
    summary["agreement"] = agreement(store, members)
    lines = score_lines(summary["scores"]) + agreement_lines(summary["agreement"])
    told = {"lines": lines, "files": [long_tables.SCORES, long_tables.SCORING]}
    key = long_tables.scores_key(members)
    if long_tables.is_there(config, long_tables.SCORING, long_tables.SCORES, key):
        return Completed(name="Cached", message=f"already in {config.out}", data=told)
    long_tables.write_scores(config, store, members, summary)
    return Completed(message=f"written to {config.out}", data=told)


@task(name="publish-crowd", **OPTIONS)
def publish(key: str, lines: list[str]) -> None:
    """Show the summary as an artifact in the Prefect UI."""
    text = "\n".join(f"- {markdown_text(line, LONG)}" for line in lines)
    create_markdown_artifact(text, key=key, description="Answers or scores per model")


def cached(ref: Ref, spec: Spec) -> State[Ref]:
    """Return the state of a task whose artifact is in the store."""
    return Completed(name="Cached", message=f"in the store: {spec.folder}", data=ref)


def tell(name: str, ref: Ref, calls: CallTracker) -> None:
    """Log in one line how many answers or scores a model has."""
    counts = ref.counts
    words = [f"{counts.get('answers', counts.get('scores', 0)):,} of {ref.rows:,}"]
    if calls.planned:
        words.append(f"{calls.planned:,} calls in {calls.seconds:.0f} s")
    if calls.completion_tokens:
        words.append(f"{calls.rate:,.0f} tokens/s")
    names = ("truncated", "empty", *sorted(n for n in counts if n.startswith("error/")))
    words += [f"{counts[n]:,} {n.removeprefix('error/')}" for n in names if counts.get(n)]
    unknown = sorted(n for n in counts if n.startswith("finish/"))
    words += [
        f"{counts[n]:,} with unknown finish_reason {n.removeprefix('finish/')!r}" for n in unknown
    ]
    log.info("%-13s %s: %s", ref.stage, name, ", ".join(words))


def failures(errors: list[BaseException]) -> BaseException:
    """Return what a run ends with when some of its models failed and the others are finished."""
    others = [e for e in errors if not isinstance(e, TooManyFailures)]
    for error in errors:
        log.error("%s", error)
    return others[0] if others else TooManyFailures("; ".join(str(e) for e in errors))
