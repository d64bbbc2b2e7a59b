"""What rows are ranked by: the names of the methods, and the section of each that has keys."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.engine import Dtype, EngineConfig
from crowdselect_core.config.flags import Flag
from crowdselect_core.config.reward import DOTTED, JudgeSampling
from crowdselect_core.errors import ConfigError, CrowdError, nearest, shown

COLUMN = "column:"

Name = Literal[
    "crowdselect",
    "difficulty",
    "separability",
    "stability",
    "headroom",
    "reward",
    "random",
    "length",
    "k-center",
    "teacher",
    "ifd",
    "deita",
    "rds+",
    "instag",
    "direct-score",
]


def _written_out(method: str) -> str:
    """Take column:NAME and module:function."""
    if not re.fullmatch(rf"{COLUMN}.+", method) and not is_function(method):
        raise ValueError("column:NAME, or module:function for a function of your own")
    return method


Method = Name | Annotated[str, AfterValidator(_written_out)]


def is_function(method: str) -> bool:
    """Tell a function of the user's, module:function, from the name of a method."""
    return not method.startswith(COLUMN) and DOTTED.fullmatch(method) is not None


def column_of(method: str) -> str | None:
    """Return the column that column:NAME names, None for another method."""
    return method.removeprefix(COLUMN) if method.startswith(COLUMN) else None


def check_teacher(
    teacher: str | None, response: str | Sequence[str] | None, crowd: Sequence[str]
) -> None:
    """Check whose answers the method teacher keeps.

    Raises:
        ConfigError: no model is named, or another response too.
        CrowdError: it is no crowd model.
    """
    if teacher is None:
        raise ConfigError(
            "method teacher keeps the answers of one model: name it with --teacher-model "
            f"({shown(crowd)})"
        )
    if teacher not in crowd:
        raise CrowdError(
            f"teacher.model {teacher!r} is not in the crowd{nearest(teacher, crowd)} "
            f"({shown(crowd)})"
        )
    if response not in (None, teacher):
        raise ConfigError(
            f"method teacher keeps the answers of {teacher!r}, but response is {response!r}: "
            "leave response out"
        )


class LengthConfig(Frozen):
    """What the method length counts: the tokens of the instruction, or of the kept answer."""

    of: Annotated[Literal["instruction", "response"], Flag("WHAT", "--length-of")] = Field(
        "instruction",
        description="instruction (the paper's baseline), or response: the answer that is kept",
    )
    tokenizer: Annotated[str | None, Flag("NAME", "--length-tokenizer")] = Field(
        None,
        description="Tokenizer, a folder or hub id; when empty, tokens are estimated as UTF-8 "
        "bytes / 4",
        examples=["meta-llama/Llama-3.2-3B-Instruct"],
    )


class TeacherConfig(Frozen):
    """The method teacher: random instructions, each with the answer of one model."""

    model: Annotated[str | None, Flag("NAME", "--teacher-model")] = Field(
        None, description="Crowd model whose answers are kept", examples=["qwen2.5-72b"]
    )


class FunctionConfig(Frozen):
    """A method of your own, module:function, which runs in a process of its own."""

    version: str = Field(
        "1", description="Version of the function; raise it when it computes something else"
    )
    time_limit: float = Field(600.0, gt=0, description="Time limit of the call, in seconds")


class LocalModel(Frozen):
    """A causal language model that reads rows in this process."""

    model: Annotated[str | None, Flag("NAME")] = Field(
        None, description="Folder or hub id", examples=["HuggingFaceTB/SmolLM2-135M-Instruct"]
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


class DeitaConfig(Frozen):
    """The method deita: complexity x quality, then a filter by embedding similarity."""

    complexity: Annotated[str | None, Flag("COLUMN")] = Field(
        None,
        description="Column of the data set with the complexity of each row, or of each of its "
        "turns",
        examples=["complexity"],
    )
    quality: Annotated[str | None, Flag("COLUMN")] = Field(
        None,
        description="Column with the quality of each row, or of each of its turns",
        examples=["quality"],
    )
    threshold: float = Field(
        0.9,
        gt=0,
        le=1,
        description="Cosine to a better row above which a row is dropped",
    )

    @property
    def columns(self) -> list[str]:
        """The two columns; raises a ConfigError where one is not named."""
        if self.complexity is None or self.quality is None:
            raise ConfigError(
                "method deita needs the complexity and the quality of every row: name their "
                "columns with --deita-complexity and --deita-quality"
            )
        return [self.complexity, self.quality]


class RdsConfig(LocalModel):
    """The method rds+: rows that resemble examples of the target task."""

    targets: Annotated[str | None, Flag("FILE")] = Field(
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

    @property
    def required_engine(self) -> EngineConfig:
        """The engine; raises a ConfigError where none is named."""
        if self.engine is None:
            raise ConfigError(
                "method instag needs an LLM that tags: give instag.engine in the config file, "
                "e.g. {kind: openai, base_url: ..., model: ...}"
            )
        return self.engine
