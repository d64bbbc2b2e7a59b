"""How a crowd model is asked: its engine, and how its answers are sampled.

Names follow OpenAI's API and vLLM's. What changes an answer (model, sampling, template) is
identity; where and how fast it is asked (URLs, replicas, concurrency, devices) is not.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from crowdselect_core.config.base import Frozen, refuse_credentials
from crowdselect_core.config.fields import Place

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Headers and bodies may name tokens (max_tokens); what authorises is told by these words.
HEADER_WORDS = ("auth", "key", "secret", "cookie", "credential", "token")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class SamplingConfig(Frozen):
    """How an answer is drawn; every key is part of the answer's identity but `n`."""

    temperature: float = Field(1.0, ge=0, le=10, description="0 takes the likeliest token")
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw from the likeliest tokens that have this share; 1: all"
    )
    top_k: int | None = Field(None, ge=1, description="Likeliest tokens to draw from; all if empty")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Least likelihood of a token, as a share of the likeliest's"
    )
    max_tokens: int = Field(1024, ge=1, description="Tokens after which an answer is cut")
    stop: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="Stop strings", examples=[["###"]]
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Above 0, tokens that were used become less likely"
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="The same for every time that a token was used"
    )
    repetition_penalty: float = Field(1.0, gt=0, description="1 is none")
    seed: int | None = Field(
        0, ge=0, le=2**32 - 1, description="Sample number s is drawn with seed + s; null: unseeded"
    )
    n: int = Field(1, ge=1, le=256, description="Answers of every model to every instruction")


class PriceConfig(Frozen):
    """What a call costs, for the forecast; in any currency."""

    input: float = Field(0.0, ge=0, description="Per million prompt tokens")
    output: float = Field(0.0, ge=0, description="Per million completion tokens")
    hour: float = Field(0.0, ge=0, description="Per hour that the model runs, e.g. of its GPUs")

    def cost(self, prompt_tokens: float, completion_tokens: float, hours: float | None) -> float:
        """Return what so much costs; unknown hours cost nothing."""
        tokens = prompt_tokens * self.input + completion_tokens * self.output
        return tokens / 1e6 + (hours or 0.0) * self.hour


class EngineBase(Frozen):
    """What all engines have."""

    rate: float | None = Field(
        None, gt=0, description="Completion tokens a second, for the forecast; else as measured"
    )
    price: PriceConfig = Field(PriceConfig(), description="For the forecast")


class OpenAIEngineConfig(EngineBase):
    """Any OpenAI-compatible endpoint: a vLLM or SGLang server, a hosted one, a proxy."""

    kind: Literal["openai"] = Field(description="An OpenAI-compatible endpoint")
    base_url: Annotated[list[Place], BeforeValidator(_listed)] = Field(
        [],
        description="One URL, or one for each replica; OPENAI_BASE_URL when empty",
        examples=["http://gpu1:8000/v1"],
    )
    model: str | None = Field(
        None,
        description="Its name there; the crowd model's name when empty",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    api_key_env: str | None = Field(
        None,
        description="Environment variable with the key; OPENAI_API_KEY when both are empty",
        examples=["GPU1_KEY"],
    )
    api_key_block: str | None = Field(
        None, description="Prefect Secret block with the key", examples=["gpu1-key"]
    )
    concurrency: int = Field(16, ge=1, le=4096, description="Requests in flight, at most")
    timeout: float = Field(600.0, gt=0, description="Seconds for one request")
    max_retries: int = Field(5, ge=0, le=100, description="Of what may pass: 429, 5xx, connection")
    default_headers: dict[str, str] = Field({}, description="Never credentials")
    extra_body: dict[str, Any] = Field({}, description="Further keys of the request; identity")

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        remedy = "name an environment variable in api_key_env, or a Prefect block in api_key_block"
        refuse_credentials("default_headers", self.default_headers, remedy, HEADER_WORDS)
        refuse_credentials("extra_body", self.extra_body, remedy, ("auth", "secret", "api_key"))
        if self.api_key_env and self.api_key_block:
            raise ValueError("give api_key_env or api_key_block, not both")
        return self


class VllmEngineConfig(EngineBase):
    """A vLLM server that the run starts, talks to and ends."""

    kind: Literal["vllm"] = Field(description="A vLLM server that the run starts and ends")
    model: str | None = Field(
        None, description="Folder or hub id", examples=["Qwen/Qwen2.5-7B-Instruct"]
    )
    dtype: Dtype = Field("auto", description="Of the weights; auto: as they are stored")
    quantization: str | None = Field(None, description="In vLLM's own names, e.g. fp8, awq")
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share every layer")
    data_parallel_size: int = Field(1, ge=1, description="Copies of the model, of so many GPUs")
    pipeline_parallel_size: int = Field(1, ge=1, description="GPUs that share the layers out")
    args: dict[str, Any] = Field(
        {},
        description="Further options in vLLM's own names; identity where they change the answer",
        examples=[{"gpu_memory_utilization": 0.9, "max_model_len": 8192}],
    )
    environment: dict[str, str] = Field({}, description="Variables of the server; no credentials")
    python: str | None = Field(
        None, description="Interpreter of the environment that has vLLM; this one when empty"
    )
    trust_remote_code: bool = Field(False, description="Run code that the model's repository has")
    concurrency: int = Field(64, ge=1, le=4096, description="Requests in flight, at most")
    timeout: float = Field(1800.0, gt=0, description="Seconds for one request")
    startup_timeout: float = Field(1800.0, gt=0, description="Seconds until it must be ready")
    restarts: int = Field(2, ge=0, description="How often a server that died is started again")

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        remedy = "set it in the environment of the run (HF_TOKEN), a config is stored and shown"
        refuse_credentials("environment", self.environment, remedy, HEADER_WORDS)
        refuse_credentials("args", self.args, remedy, ("api_key", "secret", "hf_token", "password"))
        return self

    @property
    def gpus(self) -> int:
        """GPUs that one server takes."""
        return self.tensor_parallel_size * self.data_parallel_size * self.pipeline_parallel_size


class TransformersEngineConfig(EngineBase):
    """Batched `generate` in this process; the fallback that runs anywhere."""

    kind: Literal["transformers"] = Field(description="transformers, in the process of the run")
    model: str | None = Field(
        None, description="Folder or hub id", examples=["Qwen/Qwen2.5-7B-Instruct"]
    )
    dtype: Dtype = Field("auto", description="Of the weights; auto: as they are stored")
    device: str | None = Field(None, description="e.g. cuda:0; found by itself when empty")
    attn_implementation: str | None = Field(None, description="e.g. eager, sdpa")
    trust_remote_code: bool = Field(False, description="Run code that the model's repository has")
    batch_size: int = Field(16, ge=1, description="Answers a batch; changes no result")
    max_model_len: int | None = Field(None, ge=1, description="Context; the model's own if empty")


EngineConfig = Annotated[
    OpenAIEngineConfig | VllmEngineConfig | TransformersEngineConfig, Field(discriminator="kind")
]
