"""All stages by name, so that any process that is told a stage by name can compute a part of it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.crowd.dataset_responses import DATASET_RESPONSES
from crowdselect_core.stages.crowd.prompts import PROMPTS
from crowdselect_core.stages.crowd.responses import RESPONSES
from crowdselect_core.stages.crowd.rewards import REWARDS
from crowdselect_core.stages.crowd.zoo import ZOO
from crowdselect_core.stages.heldout.answers import HELDOUT_ANSWERS
from crowdselect_core.stages.heldout.split import DUPLICATES, HELDOUT, REMAINING
from crowdselect_core.stages.methods.annotations import ANNOTATIONS
from crowdselect_core.stages.methods.column_values import COLUMN_VALUES
from crowdselect_core.stages.methods.lengths import LENGTHS
from crowdselect_core.stages.quality.contamination import CONTAMINATION
from crowdselect_core.stages.quality.duplicate_groups import DUPLICATE_GROUPS
from crowdselect_core.stages.quality.gated import DEDUPLICATED, GATED
from crowdselect_core.stages.quality.row_filters import ROW_FILTERS
from crowdselect_core.stages.quality.sketches import SKETCHES
from crowdselect_core.stages.reselect.changes import DRIFT, MEMBERSHIP
from crowdselect_core.stages.reselect.joined_zoos import ZOOS
from crowdselect_core.stages.reselect.merged_tables import JOINED
from crowdselect_core.stages.reselect.new_rows import ACTIVE, ARRIVALS
from crowdselect_core.stages.select.answer_tokens import ANSWER_TOKENS
from crowdselect_core.stages.select.answers import ANSWERS
from crowdselect_core.stages.select.centers import CENTERS
from crowdselect_core.stages.select.choices import CHOICES
from crowdselect_core.stages.select.clusters import CLUSTERS
from crowdselect_core.stages.select.comparison import COMPARISON
from crowdselect_core.stages.select.embedder import EMBEDDER
from crowdselect_core.stages.select.embeddings import EMBEDDINGS
from crowdselect_core.stages.select.instructions import INSTRUCTIONS
from crowdselect_core.stages.select.metrics import METRICS
from crowdselect_core.stages.select.pairs import PAIRS
from crowdselect_core.stages.select.ranking import RANKING
from crowdselect_core.stages.select.scores import SCORES
from crowdselect_core.stages.select.selection import SELECTION
from crowdselect_core.store.artifacts import Finished, Store
from crowdselect_core.store.build import finish as finish_part
from crowdselect_core.store.executors.base import Job
from crowdselect_core.store.plan import Plan, ShardCopy, ShardResult

__all__ = [
    "ACTIVE",
    "ANNOTATIONS",
    "ANSWERS",
    "ANSWER_TOKENS",
    "ARRIVALS",
    "CENTERS",
    "CHOICES",
    "CLUSTERS",
    "COLUMN_VALUES",
    "COMPARISON",
    "CONTAMINATION",
    "DATASET_RESPONSES",
    "DEDUPLICATED",
    "DRIFT",
    "DUPLICATES",
    "DUPLICATE_GROUPS",
    "EMBEDDER",
    "EMBEDDINGS",
    "GATED",
    "HELDOUT",
    "HELDOUT_ANSWERS",
    "INSTRUCTIONS",
    "JOINED",
    "LENGTHS",
    "MEMBERSHIP",
    "METRICS",
    "PAIRS",
    "PROMPTS",
    "RANKING",
    "REMAINING",
    "RESPONSES",
    "REWARDS",
    "ROW_FILTERS",
    "SCORES",
    "SELECTION",
    "SKETCHES",
    "STAGES",
    "ZOO",
    "ZOOS",
    "compute",
    "finish",
]

PLANS = 2  # plans that a process holds for the next part: what a table needs is then read once


def _by_name(stages: Iterable[Stage[Any]]) -> Mapping[str, Stage[Any]]:
    named: dict[str, Stage[Any]] = {}
    for stage in stages:
        if stage.name in named:
            raise ValueError(f"two stages have the name {stage.name!r}")
        named[stage.name] = stage
    return named


STAGES = _by_name(
    [
        *(INSTRUCTIONS, SCORES, METRICS, ANSWERS, EMBEDDER, EMBEDDINGS, CENTERS, CLUSTERS),
        *(ROW_FILTERS, CONTAMINATION, SKETCHES, DUPLICATE_GROUPS, GATED, DEDUPLICATED),
        *(ANNOTATIONS, COLUMN_VALUES, LENGTHS, RANKING, SELECTION, PAIRS, COMPARISON),
        *(ANSWER_TOKENS, CHOICES),
        *(PROMPTS, RESPONSES, DATASET_RESPONSES, REWARDS, ZOO),
        *(HELDOUT, DUPLICATES, REMAINING, HELDOUT_ANSWERS),
        *(ARRIVALS, ACTIVE, ZOOS, JOINED, MEMBERSHIP, DRIFT),
    ]
)


def compute(job: Job, store: Store, index: int) -> ShardResult | ShardCopy:
    """Compute one part of a stage's artifact, in any process that reaches its inputs.

    Args:
        job: what `Stage.job` made.
        store: where the inputs are.
        index: which part, from 0.

    Raises:
        KeyError: no stage has the job's name.
        IndexError: the plan has no such part.
    """
    plan = STAGES[job.stage].planned(job, store)
    if not 0 <= index < plan.total:
        raise IndexError(f"{job.stage}: part {index} of {plan.total}")
    return plan.compute(index)


def finish(job: Job, root: str, folder: str, index: int, finished: Sequence[str]) -> Finished:
    """Compute one part and write its shard, as the process that builds the artifact would.

    Args:
        job: what `Stage.job` made.
        root: of the store.
        folder: of the artifact.
        index: which part, from 0.
        finished: names of shards of this index that lie in the folder.
    """
    store, plan = _plan(job, root, folder)
    return finish_part(store, folder, plan, index, finished)


@lru_cache(maxsize=PLANS)
def _plan(job: Job, root: str, folder: str) -> tuple[Store, Plan]:
    # The folder is part of the lookup: the same job is another plan when a file has changed.
    store = Store(root)
    return store, STAGES[job.stage].planned(job, store)
