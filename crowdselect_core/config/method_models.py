"""The sections of the methods for which a model says something of every row.

A `LocalModel` runs in this process; a `LanguageModel` is asked through any engine.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.engine import Dtype, EngineConfig
from crowdselect_core.config.fields import LocalPath
from crowdselect_core.config.flags import Flag
from crowdselect_core.config.reward import JudgeSampling
from crowdselect_core.errors import ConfigError


class LocalModel(Frozen):
    """A causal language model that reads rows in this process."""

    model: Annotated[str | None, Flag("NAME")] = Field(
        None,
        description="Causal language model of the method, a folder or hub id",
        examples=["HuggingFaceTB/SmolLM2-135M-Instruct"],
    )
    revision: str | None = Field(None, description="Commit, tag or branch of its hub id")
    dtype: Dtype = Field(
        "auto", description="Number format of the weights; auto: as they are stored"
    )
    device: str | None = Field(
        None, description="Device, e.g. cuda:0; when empty, the first GPU, else the CPU"
    )
    attn_implementation: str | None = Field(
        None, description="Attention implementation, e.g. eager for Gemma 2"
    )
    trust_remote_code: bool = Field(False, description="Run code from the model's repository")
    batch_tokens: int = Field(
        8192,
        ge=1,
        description="Tokens per batch, padding included; changes no result beyond float noise",
    )


class PreExperiencedConfig(Frozen):
    """A first training of the model of ifd, on a small sample from clusters of the instructions."""

    rows: int = Field(1000, ge=2, description="Rows that it is trained on, in equal shares")
    clusters: int = Field(100, ge=1, description="Clusters of instructions that these come from")
    num_train_epochs: float = Field(1.0, gt=0, description="Passes over the rows")
    learning_rate: float = Field(2e-5, gt=0, description="Highest learning rate, of all weights")
    global_batch_size: int = Field(128, ge=1, description="Rows of a step")
    max_length: int = Field(2048, ge=8, description="Most tokens of a row")


class IfdConfig(LocalModel):
    """The method ifd: instruction-following difficulty under a causal language model."""

    variant: Annotated[Literal["cherry", "superfiltering"], Flag("NAME")] = Field(
        "cherry",
        description="cherry: ratio of mean token losses; superfiltering: ratio of perplexities",
    )
    max_length: int | None = Field(
        None,
        ge=8,
        description="Tokens of instruction and answer that are read; when empty, as published: 512 "
        "for cherry, 1024 for superfiltering",
    )

    pre_experienced: PreExperiencedConfig | None = Field(
        None,
        description="Train the model first on a small clustered sample, as published for cherry; "
        "{} takes the published numbers",
        examples=[{"rows": 1000, "clusters": 100}],
    )

    @property
    def tokens(self) -> int:
        """The tokens that are read at most."""
        return self.max_length or {"cherry": 512, "superfiltering": 1024}[self.variant]

    @property
    def required_model(self) -> str:
        """The model; raises a ConfigError where none is named."""
        if self.model is None:
            raise ConfigError(
                "method ifd needs a causal language model: name a folder or hub id with --ifd-model"
            )
        return self.model


class RdsConfig(LocalModel):
    """The method rds+: rows that resemble examples of the target task."""

    targets: Annotated[LocalPath | None, Flag("FILE")] = Field(
        None,
        description="JSON Lines file of examples of the target task: {messages}, or {instruction, "
        "output}",
        examples=["targets.jsonl"],
    )
    max_length: int = Field(2048, ge=8, description="Tokens of a row that are read, from its start")

    @property
    def required_model(self) -> str:
        """The model; raises a ConfigError where none is named."""
        if self.model is None:
            raise ConfigError(
                "method rds+ needs a causal language model, best the one that is to be trained: "
                "name a folder or hub id with --rds-model"
            )
        return self.model

    @property
    def required_targets(self) -> str:
        """The file of targets; raises a ConfigError where none is named."""
        if self.targets is None:
            raise ConfigError(
                "method rds+ needs examples of the target task: name a JSON Lines file with "
                "--rds-targets"
            )
        return self.targets


class LanguageModel(Frozen):
    """An LLM that is asked about every row, through any engine."""

    engine: EngineConfig | None = Field(None, description="What runs the LLM")
    revision: str | None = Field(None, description="Commit, tag or branch of its hub id")
    sampling: JudgeSampling = Field(JudgeSampling(), description="How replies are sampled")
    chat_template_kwargs: dict[str, Any] = Field({}, description="Arguments of the chat template")
    max_unparsed: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of a run's rows whose reply may be unreadable; above it the run ends",
    )


class DeitaConfig(LanguageModel):
    """The method deita: complexity x quality, then a filter by embedding similarity.

    The two are columns of the data set, or what an LLM grades.
    """

    complexity: Annotated[str | None, Flag("COLUMN")] = Field(
        None,
        description="Column of the data set with the complexity of each row, or of each of its "
        "turns; when empty, `engine` grades it",
        examples=["complexity"],
    )
    quality: Annotated[str | None, Flag("COLUMN")] = Field(
        None,
        description="Column with the quality of each row, or of each of its turns; when empty, "
        "`engine` grades it",
        examples=["quality"],
    )
    threshold: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Cosine to a better row above which a row is dropped",
    )

    @property
    def is_graded(self) -> bool:
        """Whether an LLM grades both."""
        return self.engine is not None

    @property
    def columns(self) -> list[str]:
        """The two columns; raises a ConfigError where one is not named."""
        if self.complexity is None or self.quality is None:
            raise ConfigError(
                "method deita needs the complexity and the quality of every row: name their "
                "columns with --deita-complexity and --deita-quality, or give deita.engine in the "
                "config file, the LLM that grades both"
            )
        return [self.complexity, self.quality]

    @property
    def required_engine(self) -> EngineConfig:
        """The engine; raises a ConfigError where none is named, or columns too."""
        if self.engine is None or self.complexity is not None or self.quality is not None:
            raise ConfigError(
                "deita: complexity and quality are columns, or graded by deita.engine: give either "
                "both columns or the engine"
            )
        return self.engine


class DirectScoreConfig(LanguageModel):
    """The method direct-score: an LLM's grade of the instruction and its answer, 0 to 5."""

    dimension: str = Field(
        "accuracy",
        min_length=1,
        description="What is graded; AlpaGasus: accuracy, or helpfulness",
    )

    @property
    def required_engine(self) -> EngineConfig:
        """The engine; raises a ConfigError where none is named."""
        if self.engine is None:
            raise ConfigError(
                "method direct-score needs an LLM that grades: give direct_score.engine in the "
                "config file, e.g. {kind: openai, base_url: ..., model: ...}"
            )
        return self.engine


class InstagConfig(LanguageModel):
    """The method instag: an LLM's tags of every instruction."""

    min_frequency: int = Field(
        20, ge=1, description="Rows that a tag must have to count; lower it for small data sets"
    )
    embedder: EmbedderConfig | None = Field(
        None,
        description="Model whose embeddings say which tags mean the same: a sentence-transformers "
        "folder or hub id; when empty, tags of the same meaning stay apart",
        examples=["whaleloops/phrase-bert"],
    )
    similarity: float = Field(
        0.95, gt=0, le=1, description="Cosine similarity from which two tags mean the same"
    )

    @model_validator(mode="after")
    def _embeds_tags(self) -> Self:
        if self.embedder is not None and self.embedder.kind != "sentence-transformers":
            raise ValueError(
                f"embedder: tags need a sentence-transformers model, found {self.embedder.kind}"
            )
        return self

    @property
    def required_engine(self) -> EngineConfig:
        """The engine; raises a ConfigError where none is named."""
        if self.engine is None:
            raise ConfigError(
                "method instag needs an LLM that tags: give instag.engine in the config file, "
                "e.g. {kind: openai, base_url: ..., model: ...}"
            )
        return self.engine
