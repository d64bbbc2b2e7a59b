"""The config of the embedder, how instructions become vectors; `embedding` computes them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen


class EmbedderConfig(Frozen):
    """How instructions become vectors."""

    kind: Literal["lexical", "sentence-transformers", "column"] = Field(
        "lexical",
        description="lexical: TF-IDF and truncated SVD; sentence-transformers: a model; "
        "column: vectors that the data set has",
    )
    model: str | None = Field(
        None, description="Folder or hub id", examples=["jinaai/jina-embeddings-v3"]
    )
    revision: str | None = Field(None, description="Commit or tag of the model")
    trust_remote_code: bool = Field(False, description="Run code that the model's repository has")
    task: str | None = Field(None, description="e.g. text-matching for jina-embeddings-v3")
    prompt_name: str | None = Field(None, description="A prompt that the model defines")
    normalize: bool = Field(True, description="Scale every vector to length 1")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Of the model's weights"
    )
    max_length: int | None = Field(None, ge=1, description="Tokens after which a text is cut")
    column: str | None = Field(
        None, description="Name of the vector column", examples=["embedding"]
    )
    batch_size: int = Field(32, ge=1, description="Texts a batch; changes no result")
    device: str | None = Field(None, description="e.g. cuda:0; the library's choice when empty")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return cls.from_name(value) if isinstance(value, str) else value

    @staticmethod
    def from_name(value: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        if value == "lexical":
            return {"kind": "lexical"}
        if value.startswith("column:"):
            return {"kind": "column", "column": value.removeprefix("column:")}
        return {"kind": "sentence-transformers", "model": value}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind == "sentence-transformers" and not self.model:
            raise ValueError("kind sentence-transformers needs 'model', a folder or a hub id")
        if self.kind == "column" and not self.column:
            raise ValueError("kind column needs 'column', the vector column's name")
        return self
