"""The config of the embedder, how instructions become vectors; `embedding` computes them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Named


class EmbedderConfig(Named):
    """How instructions become vectors."""

    kind: Literal["lexical", "sentence-transformers", "column"] = Field(
        "lexical",
        description="lexical: TF-IDF and truncated SVD; sentence-transformers: a model; "
        "column: a column of vectors in the data set",
    )
    model: str | None = Field(
        None, description="Folder or hub id of the model", examples=["jinaai/jina-embeddings-v3"]
    )
    revision: str | None = Field(None, description="Commit, tag or branch of the model")
    trust_remote_code: bool = Field(False, description="Run code from the model's repository")
    task: str | None = Field(
        None, description="Task of the model, e.g. text-matching for jina-embeddings-v3"
    )
    prompt_name: str | None = Field(None, description="Name of a prompt that the model defines")
    normalize: bool = Field(True, description="Scale every vector to length 1")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of the weights"
    )
    max_length: int | None = Field(
        None, ge=1, description="Most tokens of a text, beyond which it is cut"
    )
    column: str | None = Field(
        None, description="Name of the vector column", examples=["embedding"]
    )
    batch_size: int = Field(32, ge=1, description="Texts per batch; changes no result")
    device: str | None = Field(
        None, description="Device, e.g. cuda:0; when empty, the library's choice"
    )

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        if name == "lexical":
            return {"kind": "lexical"}
        if name.startswith("column:"):
            return {"kind": "column", "column": name.removeprefix("column:")}
        return {"kind": "sentence-transformers", "model": name}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "sentence-transformers" and not self.model:
            raise ValueError("kind sentence-transformers needs 'model', a folder or a hub id")
        if self.kind == "column" and not self.column:
            raise ValueError("kind column needs 'column', the vector column's name")
        return self
