"""A map of the instructions: their embeddings in two dimensions."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from crowdselect_core.report.page.packing import Column, pack_columns, pack_json, smallest
from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.sections.overview import quantile_columns
from crowdselect_core.report.page.templating import filled
from crowdselect_core.report.page.texts import in_one_line

HOVER = 80  # characters of an instruction that a point shows
UNDEFINED = 65_535  # of a quantile in 16 bits; 65,534 is 1

Floats = NDArray[np.float64]


def embedding_map(data: PageData, room: int) -> Section | None:
    """Draw the sample's instructions by the two leading principal components."""
    if data.inputs.embeddings is None:
        return None
    wanted = data.sample.select("row", "instruction_id")
    frames = data.inputs.embeddings.open(data.store).frames(["instruction_id", "vector"])
    found = pl.concat([f.join(wanted, on="instruction_id", how="inner") for f in frames])
    found = found.sort("row")
    rows = data.sample.join(found.select("row"), on="row", how="semi", maintain_order="left")
    vectors = found["vector"]
    if rows.is_empty():
        return None
    xy_N2, share = principal(vectors.to_numpy())
    names = quantile_columns(data.ranking)
    columns: dict[str, Column] = {
        "row": smallest(rows["row"].to_numpy()),
        "x": _scaled(drawn_nearer(xy_N2[:, 0])), "y": _scaled(drawn_nearer(xy_N2[:, 1])),
        "cluster": smallest(rows["cluster_id"].fill_null(0).to_numpy()),
        "state": (rows["eligible"].cast(pl.UInt8) + rows["selected"].cast(pl.UInt8)).to_numpy(),
        **{name: _sixteen_bits(rows[f"{name}_q"]) for name in names},
    }  # fmt: skip
    texts = [in_one_line(t, HOVER) for t in rows["text"].to_list()]
    ids = [in_one_line(i, HOVER) for i in rows["instruction_id"].to_list()]
    clusters = data.inputs.clusters is not None
    html = filled(
        "map.html", points=rows.height, rows=data.by_id.height, share=share, names=names,
        clusters=clusters, embedder=data.config.embedder.kind, chosen=int(rows["selected"].sum()),
    )  # fmt: skip
    blocks = {
        "map-points": pack_columns(columns),
        "map-texts": pack_json(
            {"ids": ids, "texts": texts, "metrics": names, "clusters": clusters}
        ),
    }
    return Section("map", "Map of the instructions", html, blocks)


def principal(vectors_ND: NDArray[np.float32]) -> tuple[Floats, float]:
    """Return the two leading principal components, and the share of the variance that they have.

    The components are the eigenvectors of the covariance, each with its largest entry positive, so
    that the map is the same however it was computed.
    """
    centred_ND = vectors_ND.astype(np.float64) - vectors_ND.mean(axis=0, dtype=np.float64)
    variance_D, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND)
    axes_D2 = axes_DD[:, ::-1][:, :2]
    largest = np.abs(axes_D2).argmax(axis=0)
    axes_D2 = axes_D2 * np.where(axes_D2[largest, range(axes_D2.shape[1])] < 0, -1.0, 1.0)
    xy_N2 = centred_ND @ axes_D2
    if xy_N2.shape[1] < 2:
        xy_N2 = np.hstack([xy_N2, np.zeros((len(xy_N2), 1))])
    total = float(variance_D.sum())
    return xy_N2, float(variance_D[-2:].sum() / total) if total > 0 else 1.0


def drawn_nearer(values: Floats) -> Floats:
    """Return asinh((x - median) / spread): a few far points do not press the others together.

    spread is the distance of the quartiles; where these are equal, the values stay.
    """
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return np.arcsinh((values - middle) / (high - low)) if high > low else values


def _scaled(values: Floats) -> Column:
    """Return values as 16 bits, their range as 0 to 65,535."""
    low, high = float(values.min()), float(values.max())
    unit = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return np.rint(unit * 65_535).astype(np.uint16)


def _sixteen_bits(quantile: pl.Series) -> Column:
    q_N = quantile.fill_null(float("nan")).to_numpy()
    return np.where(np.isnan(q_N), UNDEFINED, np.rint(np.nan_to_num(q_N) * 65_534)).astype(
        np.uint16
    )
