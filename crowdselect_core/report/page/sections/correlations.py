"""How far the metrics say the same."""

import polars as pl

from crowdselect_core.report.page.section import PageData, Section
from crowdselect_core.report.page.sections.overview import quantile_columns
from crowdselect_core.report.page.templating import filled


def correlations(data: PageData, room: int) -> Section | None:
    """Show Spearman's rho between each two metrics over the eligible rows that have both."""
    eligible = data.ranking.filter("eligible")
    names = quantile_columns(eligible)
    if len(names) < 2:
        return None
    table = [(a, [1.0 if a == b else rho(eligible[a], eligible[b]) for b in names]) for a in names]
    html = filled("correlations.html", names=names, table=table, rows=eligible.height)
    return Section("correlations", "Do the metrics agree?", html)


def rho(a: pl.Series, b: pl.Series) -> float | None:
    """Return Spearman's rho over the rows that have both numbers; None where it is undefined."""
    both = pl.DataFrame({"a": a, "b": b}).drop_nulls()
    if both.height < 2 or both["a"].n_unique() < 2 or both["b"].n_unique() < 2:
        return None
    return float(both.select(pl.corr("a", "b", method="spearman")).item())
