"""The selection flow: from a crowd's scored answers to the best N rows, with a reason for each.

Every stage is cached in the store under a key of everything that changes its content, so a run that
is repeated, or killed and started again, computes only what is missing. Credentials come from the
environment (AWS_*, HF_TOKEN) and are in no key, log or artifact.

Run it as `python -m flows.select`, deploy it as `flows.select.select`.
"""

if __name__ == "__main__":  # before prefect is imported: --help is quick, the console is set up
    import sys

    from flows.cli import main

    sys.exit(main())

from collections.abc import Sequence
from typing import Any

from prefect import flow

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export import selection_files
from crowdselect_core.planning import preflight
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.reselection.record import KnownSelection, SelectionRun
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select.embedder import is_fitted
from flows import crowd_steps
from tasks import flow_runs
from tasks import select as tasks
from tasks.secrets import lend


@flow(name="select", version=flow_runs.VERSION, persist_result=False)
@flow_runs.told
def select(config: SelectConfig) -> Any:
    """Choose the best rows of a data set that a crowd has answered and reward models have scored.

    Missing answers are generated first, and missing scores computed.

    Args:
        config: what to choose from, by what, and where the results go.
    """
    lend(config)
    config = config.resolved()
    preflight.check(config)
    preflight.check_out(config, selection_files.names_of(config))
    return crowd_steps.repaired(config, lambda config: written(chosen(config)))


def chosen(
    config: SelectConfig, known: KnownSelection | None = None, vectors: Sequence[Ref] = ()
) -> SelectionRun:
    """Run the stages in order; each is cached or computed.

    Args:
        config: what to choose from.
        known: what an earlier selection knows: unchanged files are not read again.
        vectors: earlier embeddings: texts that stand there are not embedded again. Neither of the
            two changes a result.
    """
    lacks, made = find_missing(config), list[Ref]()
    if lacks:
        config, made = crowd_steps.zoo(config, lacks, known.raw if known else None)
    else:
        preflight.describe_data(config)
    earlier = None if lacks or not known else known.raw
    instructions = tasks.instructions(config, earlier)
    preflight.check_data(config, instructions)
    scores = tasks.scores(config, instructions)
    metrics = tasks.metrics(config, scores)
    answers = tasks.answers(config, scores, metrics)
    balanced = preflight.is_balanced(config, instructions)
    fitted = tasks.embedder(config, instructions) if balanced and is_fitted(config) else None
    embeddings = tasks.embeddings(config, instructions, fitted, vectors) if balanced else None
    centers = tasks.centers(config, embeddings) if embeddings else None
    clusters = tasks.clusters(config, embeddings, centers) if embeddings and centers else None
    ranking = tasks.ranking(config, metrics, answers)
    selection = tasks.selection(config, scores, metrics, ranking, clusters)
    wants_pairs = "pairs" in config.export
    pairs = tasks.pairs(config, scores, metrics, selection) if wants_pairs else None
    comparison = tasks.comparison(config, metrics, answers, selection, clusters)

    inputs = SelectionArtifacts(
        instructions=instructions, scores=scores, metrics=metrics, answers=answers,
        embedder=fitted, embeddings=embeddings, centers=centers, clusters=clusters,
        ranking=ranking, selection=selection, pairs=pairs, comparison=comparison,
    )  # fmt: skip
    return SelectionRun(
        config=config,
        inputs=inputs,
        raw=made[0] if made else instructions,
        dataset=instructions,
        zoos=made[-1:],
        stages=[*made, *inputs.refs().values()],
    )


def written(chosen: SelectionRun) -> dict[str, Any]:
    """Write a selection to OUT and show it in the UI."""
    config, inputs = chosen.config, chosen.inputs
    told = tasks.export(config, inputs)
    tasks.publish(config, inputs.selection, told["summary"], chosen.stages)
    return {
        "summary": told["summary"],
        "files": told["files"],
        "stages": crowd_steps.told(chosen.stages),
    }
