"""Token-matched arms: random rows whose answers have as many tokens as those of a method's choice.

A method that keeps long answers trains on more tokens than random rows of the same number do. An
arm takes that away: in each replicate its budget is the tokens of the answers that the method chose
there (`budget_tokens` with `budget_tokens_of: answer`), its response rule, crowd, rows to choose
from and training are the method's. It has at most as many tokens; one more row would be too many.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DatasetError
from crowdselect_core.experiment.grid import Grid, Point, points
from crowdselect_core.experiment.made import Made
from crowdselect_core.models.token_count import counter
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store


def matched_points(config: SelectConfig, found: Grid) -> list[Point]:
    """Return the cells, in each replicate, whose answers' tokens are matched."""
    names = {cell.matches for cell in found.cells if cell.matches is not None}
    return [point for point in points(config, found) if point.cell.name in names]


def arm_points(
    config: SelectConfig, found: Grid, made: Iterable[Made], store: Store
) -> Iterator[Point]:
    """Yield every arm in every replicate, with the tokens that it may choose.

    Args:
        config: resolved; of the whole experiment.
        found: the grid.
        made: the choices that are matched; others may be among them.
        store: where they are.

    Raises:
        DatasetError: the rows of a choice have no answers.
    """
    choices = {(one.cell, one.replicate): one.selection for one in made}
    for point in points(config, found, arms=True):
        selection = choices.get((str(point.cell.matches), point.replicate.number))
        if selection is not None:
            yield with_tokens(point, selection, store)


def with_tokens(point: Point, selection: Ref, store: Store) -> Point:
    """Return an arm with the tokens of a choice's answers as its budget; raises as `arm_points`."""
    config = point.config
    answers = selection.open(store).frame(["response"])["response"].drop_nulls()
    tokens = sum(counter(config.tokenizer, "tokenizer")(answers.to_list())) if len(answers) else 0
    if not tokens:
        raise DatasetError(
            f"experiment.token_matched: the rows of {point.cell.matches} have no answers, so there "
            "are no tokens to match; leave it out"
        )
    return replace(point, config=config.model_copy(update={"budget_tokens": tokens}))
