"""The column of the ranking that each method beside the crowd's metrics ranks by."""

from collections.abc import Mapping

from crowdselect_core.config.methods import column_of
from crowdselect_core.selection.methods.by_value import LACKS
from crowdselect_core.tables import RANKING

ADDED = frozenset({"selected", "rank", "rank_in_cluster", "margin"})  # of OUT/ranking.parquet

COLUMNS: Mapping[str, str] = {
    "length": "tokens",
    "ifd": "ifd",
    "direct-score": "direct_score",
    "deita": "deita",
    "rds+": "target_similarity",
    "instag": "tags",
    "k-center": "center_distance",
}


def ranked_by(method: str) -> str | None:
    """Return the column that a method ranks by, None where its score is all there is.

    A column of the data set keeps its name, unless every ranking has one of that name: then it is
    called as the method is, column:NAME. So is one that is called as what says why a row has none.
    """
    column = column_of(method)
    if column is not None:
        return column if column not in {*RANKING, *ADDED, LACKS} else method
    return COLUMNS.get(method)
