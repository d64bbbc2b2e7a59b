"""505 real instructions with 31 LLMs' answers: the whole method against a slow, plain oracle.

The oracle reads the file with pyarrow's own rows, takes Spearman's rho from scipy and everything
else from the definitions (METHOD), one row at a time.
"""

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from chain import Chosen, choose
from scipy.stats import spearmanr

from crowdselect_core.errors import SelectionError

ZOO = Path(__file__).parents[4] / "shared" / "data" / "alpaca_zoo"
pytestmark = pytest.mark.skipif(
    not (ZOO / "zoo.parquet").exists(), reason="../shared/data/alpaca_zoo is not here"
)
BT, GPT4 = "MiniLM-BT", "gpt4-vs-davinci003"

Table = dict[str, dict[str, float]]  # id -> model -> score


@pytest.fixture(scope="module")
def zoo() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(ZOO / "zoo.parquet").to_pylist()
    return rows


@pytest.fixture(scope="module")
def crowd() -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = yaml.safe_load((ZOO / "crowd.yaml").read_text())["crowd"]
    return models


def real(folder: Path, **keys: Any) -> Chosen:
    return choose(folder, dataset=str(ZOO / "zoo.parquet"), crowd=str(ZOO / "crowd.yaml"), **keys)


def scores_of(zoo: list[dict[str, Any]], crowd: list[dict[str, Any]], reward_model: str) -> Table:
    """The present scores of every row."""
    table: Table = {}
    for row in zoo:
        found = {}
        for model in crowd:
            score = (row[model["name"]] or {}).get(reward_model)
            if score is not None and math.isfinite(score):
                found[model["name"]] = float(score)
        table[row["uuid"]] = found
    return table


def metrics_of(scores: Table, crowd: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    """Difficulty, separability and stability of every row; None where undefined."""
    found: dict[str, list[float | None]] = {}
    for uuid, row in scores.items():
        values = [row[name] for name in sorted(row)]
        rhos = []
        families = defaultdict(list)
        for model in crowd:
            if model["name"] in row:
                families[model["family"]].append((model["size"], row[model["name"]]))
        for members in families.values():
            sizes, own = zip(*members, strict=True)
            if len(set(sizes)) > 1 and len(set(own)) > 1:
                rhos.append(float(spearmanr(sizes, own).statistic))
        # Sums in name order: equal values at other models may differ in the last bit.
        mean = sum(values) / len(values) if values else 0.0
        found[uuid] = [
            -mean if values else None,
            sum((v - mean) ** 2 for v in values) / len(values) if len(values) >= 2 else None,
            fmean(rhos) if rhos else None,
        ]
    return found


def quantile(value: float, values: list[float]) -> float:
    """(average rank - 1) / (n - 1), by counting."""
    below = sum(v < value for v in values)
    equal = sum(v == value for v in values)
    return (below + (equal - 1) / 2) / (len(values) - 1)


def answered(row: dict[str, Any], scores: dict[str, float]) -> str | None:
    """The best scored model whose answer is not empty; ties by name."""
    for name in sorted(scores, key=lambda m: (-scores[m], m)):
        if ((row[name] or {}).get("content") or "").strip():
            return name
    return None


def oracle(
    zoo: list[dict[str, Any]], scores: Table, metrics: dict[str, list[float | None]]
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the integrated score (weights 1, 1, 2) and the kept model of every eligible row."""
    kept = {row["uuid"]: answered(row, scores[row["uuid"]]) for row in zoo}
    eligible = [u for u, m in metrics.items() if len(scores[u]) >= 2 and None not in m and kept[u]]
    columns = [
        [round(metrics[u][i] or 0.0, 9) if i == 2 else metrics[u][i] for u in eligible]
        for i in range(3)
    ]
    total = {}
    for place, uuid in enumerate(eligible):
        q = [quantile(column[place], column) for column in columns]  # type: ignore[type-var, arg-type]
        total[uuid] = q[0] + q[1] + 2 * q[2]
    return total, {u: str(kept[u]) for u in eligible}


def agrees(chosen: Chosen, zoo: list[dict[str, Any]], crowd: list[dict[str, Any]],
           scores: Table) -> None:  # fmt: skip
    """Compare metrics, scores, ranks and kept answers with the oracle's."""
    metrics = metrics_of(scores, crowd)
    for row in chosen.ranking.iter_rows(named=True):
        wanted = metrics[row["instruction_id"]]
        found = [row["difficulty"], row["separability"], row["stability"]]
        assert found == [w if w is None else pytest.approx(w, abs=1e-9) for w in wanted]
    total, kept = oracle(zoo, scores, metrics)
    found = dict(chosen.ranking.filter("eligible").select("instruction_id", "score").iter_rows())
    assert found.keys() == total.keys()
    assert found == pytest.approx(total, abs=1e-9)
    best = sorted(total, key=lambda u: (-round(total[u], 9), u))[: len(chosen.ids)]
    assert chosen.ids == best
    texts = {row["uuid"]: row for row in zoo}
    for one in chosen.selection.iter_rows(named=True):
        uuid = one["instruction_id"]
        assert one["response_model"] == kept[uuid]
        assert one["response"] == texts[uuid][kept[uuid]]["content"]
        assert one["messages"][0]["content"] == texts[uuid]["instruction"]


def test_a_continuous_reward_model(
    zoo: list[dict[str, Any]], crowd: list[dict[str, Any]], tmp_path: Path
) -> None:
    chosen = real(tmp_path, reward_models=[BT], budget=100)
    assert len(chosen.ids) == 100
    assert chosen.manifest["summary"]["eligible"] == 505
    assert chosen.manifest["summary"]["missing_scores"] == 1  # of the one missing answer
    agrees(chosen, zoo, crowd, scores_of(zoo, crowd, BT))
    assert len(chosen.lines("train.jsonl")) == 100
    for overlap in chosen.manifest["summary"]["overlaps"]:
        assert overlap["by_chance"] == pytest.approx(100 * 100 / 505)


def test_a_sparse_reward_model_of_ties(
    zoo: list[dict[str, Any]], crowd: list[dict[str, Any]], tmp_path: Path
) -> None:
    """GPT-4's verdicts are 0 or 1 and there for nine models: 201 rows have all three metrics."""
    chosen = real(tmp_path, reward_models=[GPT4], budget=201)
    assert chosen.manifest["summary"]["eligible"] == 201
    assert sum(chosen.manifest["summary"]["ineligible"].values()) == 304
    agrees(chosen, zoo, crowd, scores_of(zoo, crowd, GPT4))
    with pytest.raises(SelectionError, match=r"202 rows, but only 201 of 505 rows are eligible"):
        real(tmp_path, reward_models=[GPT4], budget=202)
    # without stability every row with two verdicts is eligible
    wider = real(tmp_path / "w", reward_models=[GPT4], budget=1.0, weights="1,1,0")
    with_two = [s for s in scores_of(zoo, crowd, GPT4).values() if len(s) >= 2]
    assert wider.manifest["summary"]["eligible"] == len(with_two)


def test_both_reward_models_together(
    zoo: list[dict[str, Any]], crowd: list[dict[str, Any]], tmp_path: Path
) -> None:
    """c is the mean of the z-scores that are there, each by its own mean and deviation."""
    chosen = real(tmp_path, budget=50)  # the crowd file names both
    assert chosen.config.reward_models == [BT, GPT4]
    tables = [scores_of(zoo, crowd, r) for r in (BT, GPT4)]
    combined: Table = {}
    moments = []
    for table in tables:
        values = [s for row in table.values() for s in row.values()]
        moments.append((fmean(values), pstdev(values)))
    for uuid in tables[0]:
        combined[uuid] = {}
        for model in crowd:
            name = model["name"]
            z = [
                (table[uuid][name] - mean) / deviation
                for table, (mean, deviation) in zip(tables, moments, strict=True)
                if name in table[uuid]
            ]
            if z:
                combined[uuid][name] = fmean(z)
    agrees(chosen, zoo, crowd, combined)
    told = chosen.store.open("metrics", chosen.inputs.metrics.key).manifest.facts["moments"]
    for name, (mean, deviation) in zip((BT, GPT4), moments, strict=True):
        assert told[name]["mean"] == pytest.approx(mean)
        assert told[name]["std"] == pytest.approx(deviation)
    [agreement] = chosen.manifest["summary"]["agreement"]
    one, other = ({u: -fmean(s.values()) for u, s in t.items() if s} for t in tables)
    both = [(one[u], other[u]) for u in one.keys() & other.keys()]
    assert agreement["rows"] == len(both)
    assert agreement["rho"] == pytest.approx(spearmanr(*zip(*both, strict=True)).statistic)


def test_clusters_share_the_budget(tmp_path: Path) -> None:
    """Equal quota: no cluster gives two rows more than another that has rows left."""
    chosen = real(tmp_path, reward_models=[BT], budget=100, clusters=10)
    ranking = chosen.ranking
    given = ranking.filter("selected").group_by("cluster_id").len()
    held = ranking.group_by("cluster_id").len()
    counts = dict(given.iter_rows())
    sizes = dict(held.iter_rows())
    assert sum(counts.values()) == 100
    assert len(sizes) == 10
    most = max(counts.values())
    assert all(counts.get(c, 0) >= min(most - 1, sizes[c]) for c in sizes)
    assert ranking["reason"].null_count() == 0
