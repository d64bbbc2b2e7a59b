"""What scores the answers: classifiers, judges, likelihood, functions.

A bare name in `reward_models` is a score column that the data set already has.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.engine import (
    Dtype,
    EngineConfig,
    PriceConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)

DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class RewardBase(Frozen):
    """What all reward models have."""

    name: str = Field(
        min_length=1,
        description="Name of the reward model: the column of its scores",
        examples=["skywork"],
    )
    revision: str | None = Field(None, description="Commit, tag or branch of its hub id")
    price: PriceConfig = Field(PriceConfig(), description="Prices, for --dry-run")
    conformance: bool = Field(
        True, description="Refuse a model that fails the conformance check; false: warn only"
    )


class ModelReward(RewardBase):
    """What the kinds have that run a model here."""

    model: str = Field(
        min_length=1,
        description="Folder or hub id",
        examples=["Skywork/Skywork-Reward-V2-Llama-3.1-8B"],
    )
    max_length: int = Field(
        4096,
        ge=8,
        description="Most tokens of instruction and answer; longer pairs are cut at the end, and "
        "counted",
    )
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
        description="Tokens per batch, padding included; changes no score beyond float noise",
    )


class ClassifierReward(ModelReward):
    """A sequence-classification reward model: one score, or several heads."""

    kind: Literal["classifier"] = Field(
        description="classifier: a sequence-classification reward model"
    )
    engine: Annotated[TransformersEngineConfig | VllmEngineConfig, Field(discriminator="kind")] = (
        Field(TransformersEngineConfig(kind="transformers"), description="What runs it")
    )
    heads: list[str] | None = Field(
        None, description="Heads of a multi-objective model that become columns NAME/HEAD; when "
        "empty, all",
    )  # fmt: skip


class LikelihoodReward(ModelReward):
    """Pointwise mutual information of answer and instruction under a causal language model."""

    kind: Literal["likelihood"] = Field(description="likelihood: of a causal language model")


class JudgeSampling(SamplingConfig):
    """How verdicts are sampled: the likeliest one, unless stated otherwise."""

    temperature: float = Field(
        0.0, ge=0, le=10, description="Sampling temperature; 0: the likeliest token"
    )
    max_tokens: int = Field(512, ge=1, description="Most tokens of a verdict")


class JudgeReward(RewardBase):
    """An LLM that grades an answer, or compares it with a reference model's answer."""

    kind: Literal["judge"] = Field(description="judge: an LLM that grades or compares")
    engine: EngineConfig = Field(description="What runs the judge")
    sampling: JudgeSampling = Field(JudgeSampling(), description="How verdicts are sampled")
    chat_template_kwargs: dict[str, Any] = Field({}, description="Arguments of the chat template")
    mode: Literal["grade", "pairwise"] = Field(
        "grade", description="grade: one answer at a time; pairwise: against the reference model's"
    )
    reference_model: str | None = Field(
        None,
        description="Crowd model with whose answer every other is compared, in the mode pairwise",
        examples=["qwen2.5-7b"],
    )
    rubric: str | None = Field(
        None,
        description="Prompt of the judge with {instruction}, {answer} (and {reference}); when "
        "empty, the built-in one",
    )
    scale: tuple[float, float] = Field((1.0, 10.0), description="Lowest and highest grade")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.scale[0] >= self.scale[1]:
            raise ValueError(f"scale: expected [least, greatest], found {list(self.scale)}")
        if (self.mode == "pairwise") != (self.reference_model is not None):
            raise ValueError("mode pairwise needs reference_model, and mode grade has none")
        return self


class FunctionReward(RewardBase):
    """A Python function with the signature of TRL's reward functions."""

    kind: Literal["function"] = Field(description="function: a Python function")
    path: str = Field(description="The function, as module:function", examples=["my_checks:verify"])
    version: str = Field(
        "1", description="Version of the function; raise it when it computes something else"
    )
    columns: list[str] = Field(
        [], description="Columns of the data set that the function takes", examples=[["solution"]]
    )
    time_limit: float = Field(10.0, gt=0, description="Time limit of a row, in seconds")
    workers: int = Field(2, ge=1, description="Processes that run the function; changes no result")

    @model_validator(mode="after")
    def _dotted(self) -> Self:
        if not DOTTED.fullmatch(self.path):
            raise ValueError(f"path: expected module:function, found {self.path[:80]!r}")
        return self


RewardConfig = Annotated[
    ClassifierReward | LikelihoodReward | JudgeReward | FunctionReward, Field(discriminator="kind")
]


def reward_name(reward: str | RewardConfig) -> str:
    """Return the name of a reward model: its own, or the column's."""
    return reward if isinstance(reward, str) else reward.name
