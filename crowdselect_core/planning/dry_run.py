"""What a run would do: which stages are in the store, and which it would compute."""

from collections.abc import Callable, Iterator

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning import preflight
from crowdselect_core.planning.generation_cost import bills
from crowdselect_core.planning.missing_work import (
    MissingWork,
    answering,
    find_missing,
    scoring,
    without_missing,
)
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import (
    answers,
    centers,
    clusters,
    comparison,
    embedder,
    embeddings,
    instructions,
    metrics,
    pairs,
    ranking,
    scores,
    selection,
)
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec

Step = tuple[str, list[str], Callable[..., Spec]]  # a stage, its inputs, how it is named

ROWS = 50_000


def forecast(config: SelectConfig, flow: str = "select") -> list[str]:
    """Say what a run of this config would compute; the data set is checked, nothing is written.

    Where answers or scores are lacking, the bill of making them comes first.

    Raises:
        UserError: whatever the run itself would refuse before its first stage.
    """
    if flow in ("select", "reselect"):
        preflight.check(config)
    lacks = {"score": scoring, "generate": answering}.get(flow, find_missing)(config)
    if lacks:
        return _live(config, lacks)
    dataset = open_dataset(config)
    layout = dataset.layout
    rows = sum(part.rows for part in dataset.partitions(ROWS))
    lines = [
        f"data set   {config.dataset.path}: {rows:,} rows, {len(config.models)} crowd models, "
        f"{len(layout.scores):,} score columns, {len(layout.answers)} answer columns",
        dataset.prompt_line(),
        f"budget     {config.budget_tokens or config.budget} "
        f"{'tokens' if config.budget_tokens else 'rows or share of the eligible'}",
        f"store      {config.store}",
        f"out        {config.out}",
    ]
    lines += [f"stage      {name}: {state}" for name, state in _states(config)]
    return lines


def _live(config: SelectConfig, lacks: MissingWork) -> list[str]:
    dataset = open_dataset(without_missing(config, lacks))
    rows = sum(part.rows for part in dataset.partitions(ROWS))
    return [
        f"data set   {config.dataset.path}: {rows:,} rows, {len(config.everyone)} models, "
        f"{len(lacks.answers)} to generate answers, {len(lacks.scores)} reward models to score",
        dataset.prompt_line(),
        f"store      {config.store}",
        f"out        {config.out}",
        *bills(config, lacks),
    ]


def _states(config: SelectConfig) -> Iterator[tuple[str, str]]:
    """Yield every stage with `Cached` or `to compute`; after a missing input all is to compute."""
    store = Store(config.store)
    known: dict[str, Ref | None] = {}

    def look(name: str, needs: list[str], spec: Callable[..., Spec]) -> str:
        inputs = [known[n] for n in needs]
        known[name] = None
        if any(ref is None for ref in inputs):
            return "to compute"
        found = store.find(spec(config, *inputs))
        if found is None:
            return "to compute"
        manifest = found.manifest
        known[name] = Ref(
            stage=name, key=found.key, rows=found.rows, counts=manifest.counts, facts=manifest.facts
        )
        return f"Cached, {found.rows:,} rows"

    yield "instructions", look("instructions", [], instructions.spec)
    first = known["instructions"]
    balanced = preflight.is_balanced(config, first) if first else config.clusters > 1
    steps: list[Step] = [
        ("scores", ["instructions"], scores.spec),
        ("metrics", ["scores"], metrics.spec),
        ("answers", ["scores", "metrics"], answers.spec),
        *(_clustering(config) if balanced else []),
        ("ranking", ["metrics", "answers"], ranking.spec),
    ]
    for name, needs, spec in steps:
        yield name, look(name, needs, spec)
    chosen_by = ["ranking", "clusters"] if balanced else ["ranking"]
    yield "selection", look("selection", chosen_by, _with_clusters(selection.spec))
    if "pairs" in config.export:
        yield "pairs", look("pairs", ["selection"], pairs.spec)
    compared = ["selection", "clusters"] if balanced else ["selection"]
    yield "comparison", look("comparison", compared, _with_clusters(comparison.spec))


def _clustering(config: SelectConfig) -> list[Step]:
    fitted = embedder.is_fitted(config)
    texts = ["instructions", "embedder"] if fitted else ["instructions"]
    return [
        *([("embedder", ["instructions"], embedder.spec)] if fitted else []),
        ("embeddings", texts, embeddings.spec),
        ("centers", ["embeddings"], centers.spec),
        ("clusters", ["embeddings", "centers"], lambda _, *refs: clusters.spec(*refs)),
    ]


def _with_clusters(spec: Callable[..., Spec]) -> Callable[..., Spec]:
    """Let a spec be called without its last input, the clusters."""
    return lambda config, ref, clusters=None: spec(config, ref, clusters)
