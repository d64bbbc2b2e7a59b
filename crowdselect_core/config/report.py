"""What flows.report needs to know: where a selection lies."""

from pydantic import Field

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.select import SelectConfig


class ReportConfig(SelectConfig):
    """The OUT of an earlier selection; everything else stands in its manifest."""

    # OUT's manifest names it
    dataset: DatasetConfig | None = Field(  # type: ignore[assignment]
        None, description="Not needed: the manifest names the data set"
    )
