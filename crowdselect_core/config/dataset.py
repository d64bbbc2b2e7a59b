"""Where the instructions of a run are, with the crowd's answers and scores if there are any."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Named, refuse_credentials
from crowdselect_core.config.fields import Place
from crowdselect_core.config.flags import Flag
from crowdselect_core.errors import nearest, shown

DatasetFormat = Literal[
    "auto",
    "messages",
    "sharegpt",
    "alpaca",
    "instruction",
    "generator-zoo",
    "flat",
    "scores-wide",
    "scores-long",
]

COLUMNS = (  # what dataset.columns may rename
    "instruction_id",
    "instruction",
    "content",
    "messages",
    "conversations",
    "input",
    "system",
)


class DatasetConfig(Named):
    """Where the instructions, the crowd's answers and their scores are."""

    path: Annotated[Place, Flag("PATH_OR_URL", "--dataset")] = Field(
        min_length=1,
        description="A file, folder or glob (parquet, jsonl, csv; local or any fsspec URL such as "
        "s3://bucket/zoo/*.parquet), a saved `datasets` folder, or a Hugging Face hub id",
        examples=["s3://bucket/zoo/*.parquet", "Magpie-Align/Magpie-100K-Generator-Zoo"],
    )
    format: Annotated[DatasetFormat, Flag("NAME", "--format")] = Field(
        "auto",
        description="Layout of the rows. Instructions: messages (lists of role, content), sharegpt "
        "(conversations of from, value), alpaca (instruction, input), instruction (or prompt). "
        "With scores: generator-zoo: one struct column per crowd model; flat: columns "
        "MODEL_response and MODEL_score; scores-wide: one number "
        "column per crowd model; scores-long: columns instruction_id, model, score",
    )
    name: str | None = Field(
        None,
        description="Configuration of a hub data set; when empty, its default",
        examples=["default"],
    )
    split: str | None = Field(
        None,
        description="Split of a hub or saved data set (when empty: train), or of a folder: the "
        "files named train-*, test-*, ... (when empty: all files)",
        examples=["train"],
    )
    revision: str | None = Field(None, description="Commit, tag or branch of a hub data set")
    columns: dict[str, str] = Field(
        {},
        description="The data set's own column names, where they differ: {instruction_id: uuid, "
        "instruction: prompt, content: content}",
        examples=[{"instruction_id": "uuid", "instruction": "prompt"}],
    )
    storage_options: dict[str, str | int | float | bool | None] = Field(
        {},
        description="Options of the fsspec file system; credentials are refused, and so is another "
        "server of hf:// than that of HF_ENDPOINT",
        examples=[{"anon": True}],
    )

    @classmethod
    def keeps_keys(cls, name: str, below: Mapping[str, Any]) -> bool:
        """Keep them: it is another path of the same format."""
        return True

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare path stands for."""
        return {"path": name}

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        refuse_credentials(
            "storage_options",
            self.storage_options,
            "set it in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, HF_TOKEN), a config is "
            "stored and shown",
        )
        if "protocol" in self.storage_options:
            raise ValueError("storage_options.protocol: leave it out, the URL in path says it")
        if unknown := set(self.columns) - set(COLUMNS):
            name = sorted(unknown)[0]
            raise ValueError(
                f"columns: unknown name {name!r}{nearest(name, COLUMNS)} (known: {shown(COLUMNS)})"
            )
        return self
