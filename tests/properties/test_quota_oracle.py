"""The quota against a slow reading of METHOD in plain Python."""

import random
from fractions import Fraction

import polars as pl
import pytest

from crowdselect_core.selection.quota import select

Row = tuple[str, float, int]  # id, score, cluster


def slow_quota(rows: list[Row], budget: int, quota: str) -> list[str]:
    """Read METHOD word by word, one row at a time."""
    ranked = sorted(rows, key=lambda r: (-r[1], r[0]))
    place = {row[0]: n for n, row in enumerate(ranked)}
    members: dict[int, list[str]] = {}
    for row_id, _, cluster in ranked:
        members.setdefault(cluster, []).append(row_id)
    if quota == "reference":
        share = -(-budget // len(members))
        pool = [i for ids in members.values() for i in ids[:share]]
        return sorted(pool, key=place.__getitem__)[:budget]
    if quota == "equal":
        level = 0
        while level < len(rows) and sum(min(len(m), level + 1) for m in members.values()) <= budget:
            level += 1
        given = {c: min(len(m), level) for c, m in members.items()}
        open_ = [c for c, m in members.items() if len(m) > given[c]]
        order = sorted(open_, key=lambda c: place[members[c][given[c]]])
    else:
        shares = {c: Fraction(budget * len(m), len(rows)) for c, m in members.items()}
        given = {c: int(s) for c, s in shares.items()}
        open_ = [c for c, m in members.items() if len(m) > given[c]]
        order = sorted(open_, key=lambda c: (given[c] - shares[c], place[members[c][given[c]]]))
    for cluster in order[: budget - sum(given.values())]:
        given[cluster] += 1
    taken = [i for c, ids in members.items() for i in ids[: given[c]]]
    return sorted(taken, key=place.__getitem__)


@pytest.mark.parametrize("quota", ["equal", "proportional", "reference"])
def test_against_the_slow_reading(quota: str) -> None:
    rng = random.Random(quota)
    for _ in range(150):
        n, k = rng.randint(1, 40), rng.randint(1, 8)
        # few scores, so ties abound; skewed clusters, so some are small
        rows = [(f"{i:02}", rng.randint(0, 6) / 4, min(rng.randrange(k), 5)) for i in range(n)]
        rng.shuffle(rows)
        budget = rng.randint(1, n)
        frame = pl.DataFrame(rows, schema=["instruction_id", "score", "cluster_id"], orient="row")
        ranking = frame.select("instruction_id", "score", eligible=True, reason=None)
        clusters = frame.select("instruction_id", "cluster_id")
        got = select(ranking, clusters, budget, quota)["instruction_id"].to_list()
        assert got == slow_quota(rows, budget, quota)
        assert len(got) <= budget if quota == "reference" else len(got) == budget
