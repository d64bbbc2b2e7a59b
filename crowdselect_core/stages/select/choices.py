"""Stage `choices`: what many selections of the same rows choose, in one artifact.

An experiment that compares choices alone needs of a selection which rows it has, whose answers are
kept, and who could have been chosen; it needs neither the ranking nor the texts. A part is all
choices from one ranking, which is computed once and not stored.
"""

from collections.abc import Sequence

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select.choice_inputs import ChoiceInputs, by_ranking
from crowdselect_core.stages.select.choice_parts import Part, Reading
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

STAGE, VERSION = "choices", 1


def spec(config: SelectConfig, choices: Sequence[ChoiceInputs], tokens: Ref | None) -> Spec:
    """Name the artifact: the selections that it has, by the keys that they would have.

    Raises:
        UserError: as the specs of `ranking` and `selection`.
    """
    identity = {"selections": sorted({one.key for one in choices})}
    return Spec(STAGE, VERSION, identity, {"answer-tokens": tokens.key} if tokens else {})


def plan(
    config: SelectConfig, store: Store, choices: Sequence[ChoiceInputs], tokens: Ref | None
) -> Plan:
    """Rank once a part, choose by every budget, and look up whose answers are kept.

    Output columns: CHOICES; the rows of a choice together, best first.

    Args:
        config: of any of them; what differs stands in `choices`.
        store: where the artifacts are.
        choices: what each selection is made from.
        tokens: of the answers of all rows; None where the data set has no answers.

    Raises:
        SelectionError: fewer rows are eligible than a budget asks for.
    """
    parts = by_ranking(choices)
    reading = Reading(store, tokens)

    def shard(index: int) -> ShardResult:
        return Part(store, parts[index], reading).made()

    return Plan(len(parts), shard, cut={"rankings": [list(one) for one in parts]})


CHOICES = Stage(
    "choices", "Choose by many methods and budgets, without the texts of the rows.", spec, plan
)
