"""Other weights, budget and quota: the script selects again, to the row as `select` does."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from crowdselect_core.report.page.packing import Column, pack_columns, pack_json, smallest
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.templating import filled
from crowdselect_core.selection.metric_weights import method_weights
from crowdselect_core.selection.quantiles import STABILITY_DECIMALS
from crowdselect_core.selection.quota_allocation import QUOTAS
from crowdselect_core.stages.select.listed import listed_rows
from crowdselect_core.tables import METRIC_NAMES

MOST_ROWS = 200_000  # beyond, their ranks alone would fill half of the page
NONE = 0xFFFFFFFF  # stands for an undefined metric; `assets/reselection.js` has the same
IDS_BYTES = 450_000  # for the ids of all rows; if they need more, their unique beginnings
PREFIXES = (6, 8, 10, 12, 16, 24)

COLUMNS, SETTINGS, IDS = "reselection-columns", "reselection-settings", "reselection-ids"


def sliders(data: PageData, room: int) -> Section:
    """Show sliders, what they change, and the command that makes it so."""
    rows = data.by_id
    if rows.height > MOST_ROWS:
        html = filled("no_sliders.html", rows=rows.height, most=MOST_ROWS)
        return Section("reselection", "Other weights", html)
    settings = _settings(data)
    columns = _columns(data, weighted=settings["weights"] is not None)
    notes, joined = _notes(data), _is_joined(data)
    return drawn(settings, columns, rows["instruction_id"], notes, joined=joined)


def drawn(
    settings: Mapping[str, Any],
    columns: Mapping[str, Column],
    ids: pl.Series,
    notes: Sequence[str] = (),
    *,
    joined: bool = False,
) -> Section:
    """Return the section.

    Args:
        settings: what the sliders begin with (`_settings`).
        columns: what the script ranks by; `cluster` and `chosen` are among them.
        ids: of the rows, ascending.
        notes: what the script does not do as a run would.
        joined: whether the rows come from several selections.
    """
    blocks = {COLUMNS: pack_columns(columns), SETTINGS: pack_json(settings)}
    packed, cut = _ids(ids)
    if packed:
        blocks[IDS] = packed
    html = filled(
        "sliders.html", **settings, quotas=QUOTAS, cut=cut, rows=len(ids), notes=notes,
        joined=joined,
    )  # fmt: skip
    return Section("reselection", "Try other weights", html, blocks)


def reselection_columns(
    metrics: pl.DataFrame, fit_N: NDArray[np.bool_], names: Sequence[str]
) -> dict[str, Column]:
    """Return what the script ranks by: per metric the dense rank of each value.

    Input columns: the metrics, in id order; null and NaN are undefined.
    Output columns: key_NAME (uint32, NONE where undefined), fit (1: eligible, as far as weights do
    not matter).
    """
    columns: dict[str, Column] = {"fit": fit_N.astype(np.uint8)}
    for name in names:
        values_N = metrics[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        if name == "stability":
            values_N = np.round(values_N, STABILITY_DECIMALS)
        columns[f"key_{name}"] = dense_ranks(values_N)
    return columns


def dense_ranks(values_N: NDArray[np.float64]) -> Column:
    """Return 0 for the smallest value, 1 for the next distinct one, ...; NONE for NaN."""
    ranks_N = np.full(len(values_N), NONE, dtype=np.uint32)
    defined_N = ~np.isnan(values_N)
    ranks_N[defined_N] = np.unique(values_N[defined_N], return_inverse=True)[1]
    return ranks_N


def _columns(data: PageData, *, weighted: bool) -> dict[str, Column]:
    rows = data.by_id
    if weighted:
        columns = reselection_columns(rows, _fit(data), _metrics(data))
    else:
        score_N = rows["score"].fill_null(float("nan")).to_numpy()
        eligible_N = rows["eligible"].to_numpy().astype(np.uint8)
        columns = {"fit": eligible_N, "order": dense_ranks(-score_N)}
    cluster_N = rows["cluster_id"].fill_null(0).to_numpy()
    return columns | {
        "cluster": smallest(cluster_N), "chosen": rows["selected"].to_numpy().astype(np.uint8),
    }  # fmt: skip


def _fit(data: PageData) -> NDArray[np.bool_]:
    """Tell the rows that are eligible if no metric of theirs is needed."""
    answers = data.inputs.answers.open(data.store).frame(["instruction_id", "answerable", "barred"])
    rows = data.by_id.select("instruction_id", "n_scores").join(
        answers, on="instruction_id", how="left", maintain_order="left"
    )
    fit = pl.col("answerable").fill_null(False) & pl.col("barred").is_null()
    fit &= (pl.col("n_scores") >= data.config.min_scores) & listed_rows(data.config)
    return rows.select(fit=fit)["fit"].to_numpy()


def _metrics(data: PageData) -> list[str]:
    return [n for n in METRIC_NAMES if n != "headroom" or data.config.student is not None]


def _settings(data: PageData) -> dict[str, Any]:
    """Return what the run was asked for, as the script starts with it."""
    config = data.config
    weights = method_weights(config.method, config.weights)
    budget = config.budget if config.budget_tokens is None else data.inputs.selection.rows
    if weights is not None and _is_joined(data):
        weights = None  # its quantiles are those of several selections
    metrics = _metrics(data) if weights is not None else []
    return {
        "metrics": metrics,
        "weights": list(weights[: len(metrics)]) if weights is not None else None,
        "sign": 1 if config.direction == "top" else -1,
        "budget": format(Decimal(str(budget)), "f"),
        "quota": config.quota,
        "renamed": config.method != "crowdselect" and weights is not None,
        "tokens": config.budget_tokens is not None,
        "most": int(data.ranking["eligible"].sum()),
        "yaml": _yaml(data),
    }


def _yaml(data: PageData) -> str:
    """Return the run's config without what the sliders set."""
    own = {"weights", "budget", "budget_tokens", "budget_tokens_of", "quota"}
    if method_weights(data.config.method, data.config.weights) is not None:
        own.add("method")
    values = data.config.model_dump(mode="json", exclude_defaults=True, exclude=own)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _is_joined(data: PageData) -> bool:
    """Tell whether rows of several selections lie in the ranking, each with its own quantiles."""
    identity: Mapping[str, Any] = data.inputs.ranking.open(data.store).manifest.identity
    return bool(identity.get("joined"))


def _notes(data: PageData) -> list[str]:
    """Return what the script does not do as a run would."""
    notes = []
    if data.inputs.duplicate_groups is not None:
        notes.append(
            "Of duplicates the page keeps those that this run kept; with other weights a run may "
            "keep another row of a group."
        )
    if data.config.budget_tokens is not None:
        notes.append("The run's budget was tokens; the page counts rows.")
    return notes


def _ids(ids: pl.Series) -> tuple[bytes | None, int | None]:
    """Return the ids, or their beginnings, packed; and how many characters the latter have."""
    whole = pack_json(ids.to_list()) if ids.str.len_bytes().sum() < 20 * IDS_BYTES else b""
    if 0 < len(whole) <= IDS_BYTES:
        return whole, None
    for characters in PREFIXES:
        short = ids.str.slice(0, characters)
        if short.n_unique() == len(ids):
            packed = pack_json(short.to_list())
            return (packed, characters) if len(packed) <= IDS_BYTES else (None, None)
    return None, None
