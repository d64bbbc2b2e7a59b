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

    name: str = Field(min_length=1, description="Column of its scores", examples=["skywork"])
    revision: str | None = Field(None, description="Commit or tag of the model")
    price: PriceConfig = Field(PriceConfig(), description="For the forecast")
    conformance: bool = Field(
        True, description="Refuse a model that fails the conformance check; false only warns"
    )


class ModelReward(RewardBase):
    """What the kinds have that run a model here."""

    model: str = Field(
        min_length=1,
        description="Folder or hub id",
        examples=["Skywork/Skywork-Reward-V2-Llama-3.1-8B"],
    )
    max_length: int = Field(4096, ge=8, description="Tokens after which a pair is cut, and counted")
    dtype: Dtype = Field("auto", description="Of the weights; auto: as they are stored")
    device: str | None = Field(None, description="e.g. cuda:0; found by itself when empty")
    attn_implementation: str | None = Field(None, description="e.g. eager for Gemma 2")
    trust_remote_code: bool = Field(False, description="Run code that the model's repository has")
    batch_tokens: int = Field(
        8192, ge=1, description="Padded tokens a batch; changes no result beyond float noise"
    )


class ClassifierReward(ModelReward):
    """A sequence-classification reward model: one score, or several heads."""

    kind: Literal["classifier"] = Field(description="A sequence-classification reward model")
    engine: Annotated[TransformersEngineConfig | VllmEngineConfig, Field(discriminator="kind")] = (
        Field(TransformersEngineConfig(kind="transformers"), description="What runs it")
    )
    heads: list[str] | None = Field(
        None, description="Heads of a multi-objective model to keep as columns NAME/HEAD; all if "
        "empty",
    )  # fmt: skip


class LikelihoodReward(ModelReward):
    """Pointwise mutual information of answer and instruction under a causal language model."""

    kind: Literal["likelihood"] = Field(description="A causal language model's likelihood")


class JudgeSampling(SamplingConfig):
    """How verdicts are drawn: the likeliest one, unless asked otherwise."""

    temperature: float = Field(0.0, ge=0, le=10, description="0 takes the likeliest token")
    max_tokens: int = Field(512, ge=1, description="Tokens after which a verdict is cut")


class JudgeReward(RewardBase):
    """An LLM that grades an answer, or compares it with a reference model's answer."""

    kind: Literal["judge"] = Field(description="An LLM that grades or compares")
    engine: EngineConfig = Field(description="What runs the judge")
    sampling: JudgeSampling = Field(JudgeSampling(), description="How verdicts are drawn")
    chat_template_kwargs: dict[str, Any] = Field({}, description="Given to the chat template")
    mode: Literal["grade", "pairwise"] = Field(
        "grade", description="grade: one answer at a time; pairwise: against the reference model's"
    )
    reference_model: str | None = Field(
        None,
        description="pairwise: the crowd model whose answer every other is held against",
        examples=["qwen2.5-7b"],
    )
    rubric: str | None = Field(
        None,
        description="The judge's prompt with {instruction}, {answer} (and {reference}); a stated "
        "one when empty",
    )
    scale: tuple[float, float] = Field((1.0, 10.0), description="Least and greatest grade")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.scale[0] >= self.scale[1]:
            raise ValueError(f"scale: expected [least, greatest], found {list(self.scale)}")
        if (self.mode == "pairwise") != (self.reference_model is not None):
            raise ValueError("mode pairwise needs reference_model, and mode grade has none")
        return self


class FunctionReward(RewardBase):
    """A Python function with the signature of TRL's reward functions."""

    kind: Literal["function"] = Field(description="A Python function")
    path: str = Field(description="module:function", examples=["my_checks:verify"])
    version: str = Field("1", description="Raise it when the function computes something else")
    columns: list[str] = Field(
        [], description="Columns of the data set that it is given", examples=[["solution"]]
    )
    time_limit: float = Field(10.0, gt=0, description="Seconds a row")
    workers: int = Field(2, ge=1, description="Processes; changes no result")

    @model_validator(mode="after")
    def _dotted(self) -> Self:
        if not DOTTED.fullmatch(self.path):
            raise ValueError(f"path: expected module:function, found {self.path[:80]!r}")
        return self


RewardConfig = Annotated[
    ClassifierReward | LikelihoodReward | JudgeReward | FunctionReward, Field(discriminator="kind")
]
