"""The clusters: how large they are, what they gave, what they are about."""

import math
from collections import Counter
from typing import Any

import polars as pl

from crowdselect_core.embedding.tokenizing import terms
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.templating import filled

TERMS, EXAMPLES = 8, 2
LIFT = 2  # how much more common in its cluster than elsewhere a term must be, at least


def clusters(data: PageData, room: int) -> Section | None:
    """Show every cluster: rows, eligible rows, chosen rows, its terms, its best chosen rows."""
    if data.inputs.clusters is None:
        return None
    counts = (
        data.by_id.group_by("cluster_id")
        .agg(
            rows=pl.len(), eligible=pl.col("eligible").sum(), chosen=pl.col("selected").sum(),
            worst=pl.col("score").filter(pl.col("selected")).min(),
        )
        .sort("cluster_id")
    )  # fmt: skip
    words = top_terms(data.sample) if data.texts else {}
    examples = _examples(data)
    most = counts["rows"].max()
    table = [
        row
        | {
            "terms": words.get(row["cluster_id"], []),
            "examples": examples.get(row["cluster_id"], []),
        }
        for row in counts.iter_rows(named=True)
    ]
    html = filled(
        "clusters.html", clusters=table, most=most, quota=data.config.quota,
        sampled=data.sample.height if data.texts else 0, rows=data.by_id.height,
    )  # fmt: skip
    return Section("clusters", "Clusters", html)


def top_terms(sample: pl.DataFrame) -> dict[int, list[str]]:
    """Return the terms that set each cluster's texts apart.

    A term's weight in a cluster is p * ln(p / P), p and P being the shares of the cluster's texts
    and of all texts that have it (its part of the Kullback-Leibler divergence). Terms with p below
    LIFT * P are left out, among them the words of every text; equal weights by term.

    Input columns: cluster_id, text (null: no text).
    """
    found: dict[int, Counter[str]] = {}
    texts: Counter[int] = Counter()
    for cluster, text in sample.select("cluster_id", "text").drop_nulls().iter_rows():
        found.setdefault(cluster, Counter()).update(set(terms(text)))
        texts[cluster] += 1
    total: Counter[str] = Counter()
    for counter in found.values():
        total.update(counter)
    everything = max(sum(texts.values()), 1)

    best: dict[int, list[str]] = {}
    for cluster, counter in found.items():
        weights = {}
        for term, count in counter.items():
            p, lift = count / texts[cluster], count / texts[cluster] * everything / total[term]
            if count > 1 and len(term) > 1 and not term.isdigit() and lift >= LIFT:
                weights[term] = p * math.log(lift)
        best[cluster] = sorted(weights, key=lambda t, w=weights: (-w[t], t))[:TERMS]  # type: ignore[misc]
    return best


def _examples(data: PageData) -> dict[int, list[dict[str, Any]]]:
    """Return the best chosen rows of each cluster."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in data.chosen.select("cluster_id", "instruction_id", "messages").iter_rows(named=True):
        of = found.setdefault(row["cluster_id"], [])
        if len(of) < EXAMPLES:
            of.append({"id": row["instruction_id"], "text": first_turn(row["messages"])})
    return found


def first_turn(messages: list[dict[str, Any]] | None) -> str | None:
    """Return the first user turn of a conversation, null where there is none."""
    return next((m["content"] for m in messages or () if m["role"] == "user"), None)
