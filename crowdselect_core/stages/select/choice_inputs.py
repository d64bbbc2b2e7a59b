"""What many selections of the same rows are made from."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import UserError, located, shown
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.select import ranking as ranking_stage
from crowdselect_core.stages.select import selection as selection_stage

LISTED = 5  # cells that an error names


@dataclass(frozen=True)
class ChoiceInputs:
    """What one selection is made from; the config and artifacts that its own stages would take.

    `cell` and `replicate` are what an error calls it, where it is of an experiment, and no part of
    its key.
    """

    config: SelectConfig
    scores: Ref
    metrics: Ref
    answers: Ref
    values: Ref | None = None
    vectors: Ref | None = None
    clusters: Ref | None = None
    cell: str = ""
    replicate: str = ""

    @property
    def ranking(self) -> str:
        """The key that its ranking would have in the store."""
        named = (self.metrics, self.answers, None, self.values, self.vectors)
        return ranking_stage.spec(self.config, *named).key

    @property
    def key(self) -> str:
        """The key that its selection would have in the store."""
        ranking = Ref(stage=ranking_stage.STAGE, key=self.ranking, rows=0)
        named = (self.scores, self.metrics, ranking, self.clusters)
        return selection_stage.spec(self.config, *named).key


def by_ranking(choices: Sequence[ChoiceInputs]) -> list[dict[str, ChoiceInputs]]:
    """Return the choices by their keys, those together that are from one ranking."""
    named = sorted(((c.ranking, c.key, c) for c in choices), key=lambda named: named[:2])
    return [
        {key: one for _, key, one in own} for _, own in groupby(named, key=lambda named: named[0])
    ]


@contextmanager
def named(choices: Collection[ChoiceInputs]) -> Iterator[None]:
    """Put in front of an error which choices it concerns, where they are of an experiment.

    Args:
        choices: all that the error is of, from one ranking.

    Raises:
        UserError: as it was raised: of one choice with its cell and replicate in front, of several
            with what they rank by, the replicate and the cells.
    """
    try:
        yield
    except UserError as e:
        one, cells = next(iter(choices)), sorted(choice.cell for choice in choices)
        if not one.cell:
            raise
        if len(cells) == 1:
            raise located(e, f"experiment: {one.cell}, {one.replicate}") from e
        what = f"method {shown([one.config.method])}, {one.replicate}, all {len(cells)} cells of it"
        raise located(e, f"experiment: {what} ({shown(cells, LISTED)})") from e
