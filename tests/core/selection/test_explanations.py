"""A sentence for every row: places, margins and reasons, derived by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from little import CROWD

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.export.ranking_rows import ExplainedRows
from crowdselect_core.selection.explanations import IN_WORDS
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.stages.select import answers, listed
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import ShardResult, single
from crowdselect_core.tables import RANKING, check

# id, cluster, score, reason why it is not eligible; c, b, d, ... is no order at all
ROWS: list[tuple[str, int, float | None, str | None]] = [
    ("c", 0, 1.5, None),
    ("e", 1, 1.0, None),
    ("f", 1, None, "no_answer"),
    ("b", 0, 2.0, None),
    ("g", 2, 0.25, None),
    ("d", 1, 2.5, None),
    ("a", 0, 3.0, None),
    ("h", 2, None, "too_few_scores"),
]
CHOSEN = ["a", "d", "b", "g"]  # 2 of cluster 0, 1 of cluster 1, all that cluster 2 has


Explain = Callable[[pl.DataFrame, pl.DataFrame | None, pl.DataFrame, SelectConfig], pl.DataFrame]


@pytest.fixture
def explained(tmp_path: Path) -> Explain:
    """Write tables as artifacts, and read every row as it is exported."""

    def stored(store: Store, stage: str, table: pl.DataFrame) -> Ref:
        return Ref.of(build(store, Spec(stage, 1, {}), single(lambda: ShardResult(table))))

    def explain(
        ranking: pl.DataFrame,
        clusters: pl.DataFrame | None,
        selection: pl.DataFrame,
        config: SelectConfig,
    ) -> pl.DataFrame:
        store = Store(str(tmp_path / str(len(list(tmp_path.iterdir())))))  # one of its own
        unread = Ref.to_compute("unread")
        inputs = SelectionArtifacts(
            instructions=unread, scores=unread, metrics=unread, answers=unread, comparison=unread,
            ranking=stored(store, "ranking", ranking),
            clusters=None if clusters is None else stored(store, "clusters", clusters),
            selection=stored(store, "selection", selection),
        )  # fmt: skip
        return ExplainedRows(config, store, inputs).table()

    return explain


def config(**keys: Any) -> SelectConfig:
    return SelectConfig(dataset="x", crowd=CROWD, reward_models=["r"], **keys)  # type: ignore[arg-type]


def ranking_of(rows: list[tuple[str, int, float | None, str | None]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "instruction_id": [r[0] for r in rows],
            "score": [r[2] for r in rows],
            "eligible": [r[3] is None for r in rows],
            "reason": [r[3] for r in rows],
        },
        schema_overrides={"reason": pl.String, "score": pl.Float64},
    )
    given = {"difficulty_q": 0.123, "separability_q": 0.5, "stability_q": 1.0}
    for name, dtype in RANKING.items():
        if name in given:
            frame = frame.with_columns(pl.when("eligible").then(given[name]).alias(name))
        elif name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=dtype).alias(name))
    return check(frame.select(list(RANKING)), RANKING, "ranking")


def clusters_of(rows: list[tuple[str, int, float | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"instruction_id": [r[0] for r in rows], "cluster_id": [r[1] for r in rows]},
        schema={"instruction_id": pl.String, "cluster_id": pl.Int64},
    ).reverse()


def selection_of(ids: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"instruction_id": ids, "rank": range(1, len(ids) + 1)},
        schema={"instruction_id": pl.String, "rank": pl.Int64},
    )


WHY = "difficulty higher than 12% of rows, separability higher than 50%, stability higher than 100%"
BELOW = "below the last chosen row"


def test_with_clusters(explained: Explain) -> None:
    """Cluster 0: 3.0 and 2.0 chosen, 1.5 left. Cluster 1: 2.5 chosen, 1.0 left. Cluster 2: all."""
    found = explained(ranking_of(ROWS), clusters_of(ROWS), selection_of(CHOSEN), config())
    assert found.select(
        "instruction_id", "cluster_id", "selected", "rank", "rank_in_cluster", "margin"
    ).rows() == [
        ("a", 0, True, 1, 1, 1.5),
        ("d", 1, True, 2, 1, 1.5),
        ("b", 0, True, 3, 2, 0.5),
        ("c", 0, False, None, 3, -0.5),
        ("e", 1, False, None, 2, -1.5),
        ("g", 2, True, 4, 1, None),
        ("f", 1, False, None, None, None),
        ("h", 2, False, None, None, None),
    ]
    assert found["reason"].to_list() == [
        f"chosen: rank 1 of 4; position 1 of 3 in cluster 0 (2 chosen); {WHY}; score 1.5 above the "
        "best row not chosen",
        f"chosen: rank 2 of 4; position 1 of 2 in cluster 1 (1 chosen); {WHY}; score 1.5 above the "
        "best row not chosen",
        f"chosen: rank 3 of 4; position 2 of 3 in cluster 0 (2 chosen); {WHY}; score 0.5 above the "
        "best row not chosen",
        f"not chosen: position 3 of 3 in cluster 0 (2 chosen); {WHY}; score 0.5 {BELOW}",
        f"not chosen: position 2 of 2 in cluster 1 (1 chosen); {WHY}; score 1.5 {BELOW}",
        f"chosen: rank 4 of 4; position 1 of 1 in cluster 2 (1 chosen); {WHY}",
        "not eligible: no complete answer",
        "not eligible: fewer scores than min_scores",
    ]
    assert found.columns == [*RANKING, "selected", "rank", "rank_in_cluster", "margin"]


def test_without_clusters(explained: Explain) -> None:
    """All rows are one group: a, d, b chosen of 3.0 2.5 2.0 | 1.5 1.0 0.25."""
    found = explained(ranking_of(ROWS), None, selection_of(["a", "d", "b"]), config())
    assert found.select("instruction_id", "rank_in_cluster", "margin").rows() == [
        ("a", 1, 1.5), ("d", 2, 1.0), ("b", 3, 0.5), ("c", 4, -0.5), ("e", 5, -1.0),
        ("g", 6, -1.75), ("f", None, None), ("h", None, None),
    ]  # fmt: skip
    assert found["reason"][3].startswith("not chosen: position 4 of 6 in all rows (3 chosen); ")
    assert found["cluster_id"].null_count() == 8


def test_a_cluster_that_gave_nothing_and_a_choice_out_of_order(explained: Explain) -> None:
    """Quota `proportional` may leave a cluster out; another may be cut above a better row."""
    rows = [("a", 0, 3.0, None), ("b", 0, 2.0, None), ("c", 1, 1.0, None)]
    found = explained(ranking_of(rows), clusters_of(rows), selection_of(["b"]), config())
    assert found.select("instruction_id", "margin").rows() == [("a", 1.0), ("b", -1.0), ("c", None)]
    assert found["reason"].to_list() == [
        f"not chosen: position 1 of 2 in cluster 0 (1 chosen); {WHY}; score 1.0 above the last "
        "chosen row",
        f"chosen: rank 1 of 1; position 2 of 2 in cluster 0 (1 chosen); {WHY}; score 1.0 below the "
        "best row not chosen",
        f"not chosen: position 1 of 1 in cluster 1 (0 chosen); {WHY}",
    ]


def test_ties_are_placed_by_id_and_have_no_margin_between_them(explained: Explain) -> None:
    rows = [("z", 0, 1.0, None), ("y", 0, 1.0, None), ("x", 0, 1.0, None)]
    found = explained(ranking_of(rows), None, selection_of(["x"]), config())
    assert found.select("instruction_id", "rank_in_cluster", "margin").rows() == [
        ("x", 1, 0.0), ("y", 2, 0.0), ("z", 3, 0.0),
    ]  # fmt: skip
    assert found["reason"][0].endswith("score equal to the best row not chosen, tie broken by id")
    assert found["reason"][1].endswith("score equal to the last chosen row, tie broken by id")


@pytest.mark.parametrize(
    ("keys", "score", "why"),
    [
        ({"method": "random"}, 0.7, "; random draw"),
        ({"method": "teacher"}, 0.7, "; random draw"),
        ({"method": "mine:rank", "direction": "bottom"}, -2.5, "; your function scored 2.5"),
        ({"method": "reward"}, -3.25, "; best answer scored -3.25"),
        ({"method": "reward"}, 3.25, "; best answer scored 3.25"),
        ({"method": "reward", "direction": "bottom"}, 3.25, "; best answer scored -3.25"),
        ({"method": "difficulty"}, 1.0, f"; {WHY}"),
    ],
)
def test_what_a_score_is_made_of(
    keys: dict[str, Any], score: float, why: str, explained: Explain
) -> None:
    """`bottom` ranks by the negated score; the sentence tells the answer's own."""
    rows = [("a", 0, score, None)]
    found = explained(ranking_of(rows), None, selection_of(["a"]), config(**keys))
    assert found["reason"][0] == (
        f"chosen: rank 1 of 1; position 1 of 1 in all rows (1 chosen){why}"
    )


def test_a_metric_without_weight_may_be_unknown(explained: Explain) -> None:
    table = ranking_of([("a", 0, 1.0, None)]).with_columns(
        stability_q=pl.lit(None, dtype=pl.Float64)
    )
    found = explained(table, None, selection_of(["a"]), config(weights="1,1,0"))
    assert "stability higher than ?%" in found["reason"][0]


def test_headroom_is_told_where_there_is_a_student(explained: Explain) -> None:
    student = {"name": "bat", "family": "bat", "size": 1, "role": "student"}
    table = ranking_of([("a", 0, 1.0, None), ("b", 0, 0.5, None)]).with_columns(
        headroom_q=pl.Series([0.804, None])
    )
    with_student = SelectConfig(dataset="x", crowd=[*CROWD, student], reward_models=["r"])  # type: ignore[arg-type, list-item]
    told = explained(table, None, selection_of(["a"]), with_student)["reason"]
    assert f"{WHY}, headroom higher than 80%; score 0.5 above" in told[0]
    assert f"{WHY}, headroom higher than ?%; score 0.5 below" in told[1]
    without = explained(table, None, selection_of(["a"]), config())["reason"]
    assert not without.str.contains("student").any()


RIVAL_CODES = {
    "no_complexity", "no_quality", "turns_differ", "too_similar", "template", "not_finite",
    "ifd_too_long", "ifd_no_token", "ifd_one_token", "ifd_above_1", "ifd_not_below_1",
    "ifd_undefined", "unparsed", "no_tags",
}  # fmt: skip


GATE_CODES = {
    "language", "length", "refusal", "broken", "repetition", "contaminated", "duplicate_of",
}  # fmt: skip


def test_every_reason_has_words(explained: Explain) -> None:
    """The codes that the method, the lists of ids and the answers stage can give."""
    codes = {
        "too_few_scores", "no_score", "no_difficulty", "no_separability", "no_stability",
        "no_headroom", "no_answer", "no_value", *RIVAL_CODES, *GATE_CODES,
        answers.NO_INSTRUCTION, listed.EXCLUDED, listed.NOT_INCLUDED,
    }  # fmt: skip
    assert set(IN_WORDS) == codes
    rows = [(code, 0, None, code) for code in sorted(codes)]
    found = explained(ranking_of(rows), None, selection_of([]), config())
    told = dict(found.select("instruction_id", "reason").iter_rows())
    assert told == {code: f"not eligible: {IN_WORDS[code]}" for code in codes}


def test_no_row_is_without_a_sentence(explained: Explain) -> None:
    """A row that is in no cluster, and a choice of nothing."""
    for clusters in (None, clusters_of(ROWS[:4])):
        found = explained(ranking_of(ROWS), clusters, selection_of([]), config())
        assert found.height == len(ROWS)
        assert found["reason"].null_count() == 0
        assert found["margin"].null_count() == len(ROWS)
