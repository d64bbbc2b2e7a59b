"""The steps of a reselection: measure the new rows, join them to the known ones, compare."""

from dataclasses import replace

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning import preflight
from crowdselect_core.planning.missing_work import find_missing, without_missing
from crowdselect_core.reselection.base_selection import keeps_same_answers
from crowdselect_core.reselection.record import KnownSelection, NewRows, SelectionRun
from crowdselect_core.stages import graph as stages
from crowdselect_core.stages.base import Runner
from crowdselect_core.stages.crowd.zoo import dataset_of
from crowdselect_core.stages.refs import Ref, SelectionArtifacts, Split
from flows import crowd_steps, method_steps
from tasks import crowd as live_tasks
from tasks.stage_task import run as run_task


def measured(
    config: ReselectConfig, base: KnownSelection, arrived: Ref, *, run: Runner = run_task
) -> NewRows:
    """Answer, score, measure, embed and rank the new rows alone, by the base's measures."""
    missing, zoo, rows = find_missing(config), None, arrived
    scored: SelectConfig = config
    method_steps.check(config)
    if missing:
        live_tasks.check_engines(config, missing)
        live_tasks.check_scorers(config, missing)
        prompts = run(stages.PROMPTS, without_missing(config, missing), arrived)
        fitted = base.references["metrics"]
        scored, made = crowd_steps.zoo_of(config, missing, prompts, fitted)
        zoo, rows = made[-1], run(stages.INSTRUCTIONS, scored)
    references = base.references
    scores = run(stages.SCORES, scored, rows)
    metrics = run(stages.METRICS, scored, scores, references["metrics"])
    answers = run(stages.ANSWERS, scored, scores, metrics)
    own = (without_missing(config, missing), arrived)
    values = method_steps.values(scored, own, (scores, metrics, answers), run)
    ranking = run(stages.RANKING, scored, metrics, answers, references["ranking"], values)
    centers, embeddings, clusters = references.get("centers"), None, None
    if centers:
        embeddings = run(stages.EMBEDDINGS, scored, rows, references.get("embedder"))
        clusters = run(stages.CLUSTERS, scored, embeddings, centers)
    return NewRows(scored, rows, scores, metrics, answers, ranking, embeddings, clusters, zoo)


def joined(
    config: ReselectConfig,
    base: KnownSelection,
    raw: Ref,
    split: Split,
    new: NewRows | None,
    *,
    run: Runner = run_task,
) -> SelectionRun:
    """Put the new rows beside the known ones and fill the quotas among all of them."""
    now: SelectConfig = config
    dataset, rows, made = raw, split.rows, list[Ref]()
    zoos = [*base.zoos, *([new.zoo] if new and new.zoo else [])]
    if not zoos:
        preflight.check_data(config, raw)
    else:
        whole = run(stages.ZOOS, config, zoos)
        now = dataset_of(config, whole)
        dataset = run(stages.INSTRUCTIONS, now, base.dataset)
        rows, made = run(stages.ACTIVE, now, dataset, split.rows), [raw, whole, dataset]
    fresh = new.tables if new else {}
    parts = {r: [*known, *([fresh[r]] if r in fresh else [])] for r, known in base.parts.items()}
    scores = run(stages.JOINED, now, rows, parts["scores"])
    metrics = run(stages.JOINED, now, rows, parts["metrics"])
    answers = run(stages.JOINED, now, rows, parts["answers"])
    ranking = run(stages.JOINED, now, rows, parts["ranking"])
    clusters = run(stages.JOINED, now, rows, parts["clusters"]) if "clusters" in parts else None
    selection = run(stages.SELECTION, now, scores, metrics, ranking, clusters)
    pairs = run(stages.PAIRS, now, scores, metrics, selection) if now.wants_pairs else None
    counted = base.inputs.lengths
    earlier = [counted] if counted and keeps_same_answers(config, base.record) else []
    lengths = method_steps.answer_lengths(now, rows, (scores, metrics, answers), run, earlier)
    comparison = run(stages.COMPARISON, now, metrics, answers, selection, clusters, lengths)
    inputs = SelectionArtifacts(
        instructions=rows, scores=scores, metrics=metrics, answers=answers, clusters=clusters,
        ranking=ranking, selection=selection, pairs=pairs, lengths=lengths, comparison=comparison,
        heldout=split.heldout, heldout_duplicates=split.duplicates,
    )  # fmt: skip
    return SelectionRun(
        config=now,
        inputs=inputs,
        raw=raw,
        dataset=dataset,
        zoos=zoos,
        stages=[*made, *(new.tables.values() if new else []), *inputs.refs().values()],
    )


def compared(
    config: ReselectConfig,
    base: KnownSelection,
    now: SelectionRun,
    arrived: Ref,
    new: NewRows | None,
    *,
    run: Runner = run_task,
) -> SelectionRun:
    """Say who came and went, and hold the new rows against those that the measures are of."""
    membership = run(stages.MEMBERSHIP, now.config, base.inputs, now.inputs, arrived)
    drift = None
    if new is not None:
        fitted = base.references["ranking"], base.references.get("clusters")
        since = base.inputs.ranking, base.inputs.clusters
        drift = run(stages.DRIFT, config, fitted, (new.ranking, new.clusters), since)
    return replace(now, inputs=replace(now.inputs, membership=membership, drift=drift))
