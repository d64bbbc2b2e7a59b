"""How much of the choice stays when a weight, a model, a family or a reward model is another."""

from crowdselect_core.report.experiment_page.data import ExperimentData, Limits
from crowdselect_core.report.experiment_page.drawing import BAR, Scale
from crowdselect_core.report.page.section import Section
from crowdselect_core.report.page.templating import filled


def sensitivity(data: ExperimentData, limits: Limits) -> Section | None:
    """Show every change with the share of the choice that stays, the least of a kind first."""
    table = data.sensitivity
    if table is None or table.is_empty():
        return None
    on = Scale(0.0, 1.0, 2, BAR - 2)
    kinds = table["kind"].unique(maintain_order=True).to_list()
    groups = []
    for kind in kinds:
        own = table.filter(table["kind"] == kind).sort("kept", maintain_order=True)
        rows = [
            row | {"end": on.at(row["kept"]), "chance": on.at(row["expected"])}
            for row in own.head(limits.rows).iter_rows(named=True)
        ]
        groups.append({"kind": kind, "rows": rows, "left_out": own.height - len(rows)})
    html = filled("experiment_sensitivity.html", groups=groups, width=BAR, start=on.at(0.0))
    return Section("sensitivity", "What the choice hangs on", html)
