"""How a crowd model is asked: its engine, and how its answers are sampled.

Names follow OpenAI's API and vLLM's. What changes an answer (model, sampling, template) is
identity; where and how fast it is asked (URLs, replicas, concurrency, devices) is not.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from crowdselect_core.config.base import Frozen, refuse_credentials
from crowdselect_core.config.fields import Place
from crowdselect_core.config.key_variable import check_key_variable

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Headers and bodies may name tokens (max_tokens); what authorises is told by these words.
HEADER_WORDS = ("auth", "key", "secret", "cookie", "credential", "token")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class SamplingConfig(Frozen):
    """How an answer is sampled; every key but `n` is part of the answer's identity."""

    temperature: float = Field(
        1.0, ge=0, le=10, description="Sampling temperature; 0: the likeliest token"
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Draw from the likeliest tokens of this probability; 1: all"
    )
    top_k: int | None = Field(
        None, ge=1, description="Draw from so many likeliest tokens; when empty, all"
    )
    min_p: float | None = Field(
        None, ge=0, le=1, description="Least probability of a token, as a share of the likeliest's"
    )
    max_tokens: int = Field(
        1024,
        ge=1,
        description="Most tokens of an answer; one that is cut is scored and never selected",
    )
    stop: Annotated[list[str], BeforeValidator(_listed)] = Field(
        [], description="Strings at which an answer ends", examples=[["###"]]
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Above 0, tokens that have occurred become less likely"
    )
    frequency_penalty: float = Field(
        0.0,
        ge=-2,
        le=2,
        description="Above 0, a token becomes less likely each time that it occurs",
    )
    repetition_penalty: float = Field(
        1.0,
        gt=0,
        description="Above 1, tokens that have occurred become less likely; 1: no penalty",
    )
    seed: int | None = Field(
        0, ge=0, le=2**32 - 1, description="Sample number s is drawn with seed + s; null: unseeded"
    )
    n: int = Field(1, ge=1, le=256, description="Answers of every model to every instruction")


class PriceConfig(Frozen):
    """What a call costs, in any currency; `--dry-run` adds it up."""

    input: float = Field(0.0, ge=0, description="Price of a million prompt tokens")
    output: float = Field(0.0, ge=0, description="Price of a million completion tokens")
    hour: float = Field(
        0.0, ge=0, description="Price of an hour that the model runs, e.g. of its GPUs"
    )

    def cost(self, prompt_tokens: float, completion_tokens: float, hours: float | None) -> float:
        """Return what so much costs; unknown hours cost nothing."""
        tokens = prompt_tokens * self.input + completion_tokens * self.output
        return tokens / 1e6 + (hours or 0.0) * self.hour


class EngineBase(Frozen):
    """What all engines have."""

    rate: float | None = Field(
        None,
        gt=0,
        description="Completion tokens per second, for --dry-run; when empty, as measured",
    )
    price: PriceConfig = Field(PriceConfig(), description="Prices, for --dry-run")


class OpenAIEngineConfig(EngineBase):
    """Any OpenAI-compatible endpoint: a vLLM or SGLang server, a hosted one, a proxy."""

    kind: Literal["openai"] = Field(description="openai: an OpenAI-compatible endpoint")
    base_url: Annotated[list[Place], BeforeValidator(_listed)] = Field(
        [],
        description="URL, or a list of replicas of one model; when empty, OPENAI_BASE_URL, else "
        "OpenAI's own",
        examples=["http://gpu1:8000/v1"],
    )
    model: str | None = Field(
        None,
        description="Name of the model at the endpoint; when empty, the crowd model's name",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    api_key_env: str | None = Field(
        None,
        description="Environment variable with the key; credentials of other services are "
        "refused. When this and api_key_block are empty, OPENAI_API_KEY for OpenAI's own host and "
        "that of OPENAI_BASE_URL, and no key for others",
        examples=["GPU1_KEY"],
    )
    api_key_block: str | None = Field(
        None, description="Prefect Secret block with the key", examples=["gpu1-key"]
    )
    concurrency: int = Field(16, ge=1, le=4096, description="Most requests at once")
    timeout: float = Field(600.0, gt=0, description="Time limit of a request, in seconds")
    max_retries: int = Field(
        5,
        ge=0,
        le=100,
        description="Retries of a request after 408, 409, 429, 5xx, a timeout or a lost connection",
    )
    default_headers: dict[str, str] = Field(
        {}, description="Further HTTP headers; credentials are refused"
    )
    extra_body: dict[str, Any] = Field(
        {}, description="Further keys of the request body; part of an answer's identity"
    )

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        remedy = "name an environment variable in api_key_env, or a Prefect block in api_key_block"
        refuse_credentials("default_headers", self.default_headers, remedy, HEADER_WORDS)
        refuse_credentials("extra_body", self.extra_body, remedy, ("auth", "secret", "api_key"))
        if self.api_key_env and self.api_key_block:
            raise ValueError("give api_key_env or api_key_block, not both")
        if self.api_key_env:
            check_key_variable(self.api_key_env, self.base_url)
        return self


class VllmEngineConfig(EngineBase):
    """A vLLM server that the run starts, talks to and ends."""

    kind: Literal["vllm"] = Field(description="vllm: a vLLM server that the run starts and ends")
    model: str | None = Field(
        None,
        description="Folder or hub id; when empty, the crowd model's name",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    dtype: Dtype = Field(
        "auto", description="Number format of the weights; auto: as they are stored"
    )
    quantization: str | None = Field(
        None, description="Quantization by vLLM's names, e.g. fp8, awq"
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs over which each layer is split")
    data_parallel_size: int = Field(
        1, ge=1, description="Replicas of the model, each on GPUs of its own"
    )
    pipeline_parallel_size: int = Field(
        1, ge=1, description="GPUs over which the layers are distributed"
    )
    args: dict[str, Any] = Field(
        {},
        description="Further options by vLLM's names; part of an answer's identity unless they "
        "change only speed and memory",
        examples=[{"gpu_memory_utilization": 0.9, "max_model_len": 8192}],
    )
    environment: dict[str, str] = Field(
        {}, description="Environment variables of the server; credentials are refused"
    )
    python: str | None = Field(
        None,
        description="Python interpreter of an environment that has vLLM; when empty, this one. It "
        "runs where CROWDSELECT_ALLOW_COMMANDS=1",
    )
    trust_remote_code: bool = Field(False, description="Run code from the model's repository")
    concurrency: int = Field(64, ge=1, le=4096, description="Most requests at once")
    timeout: float = Field(1800.0, gt=0, description="Time limit of a request, in seconds")
    startup_timeout: float = Field(
        1800.0, gt=0, description="Seconds within which the server must be ready"
    )
    restarts: int = Field(2, ge=0, description="Restarts of a server that died")

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

    kind: Literal["transformers"] = Field(
        description="transformers: generation in the process of the run"
    )
    model: str | None = Field(
        None,
        description="Folder or hub id; a crowd model needs it",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    dtype: Dtype = Field(
        "auto", description="Number format of the weights; auto: as they are stored"
    )
    device: str | None = Field(
        None, description="Device, e.g. cuda:0; when empty, the first GPU, else the CPU"
    )
    attn_implementation: str | None = Field(
        None, description="Attention implementation, e.g. eager, sdpa"
    )
    trust_remote_code: bool = Field(False, description="Run code from the model's repository")
    batch_size: int = Field(
        16,
        ge=1,
        description="Answers per batch, halved when memory runs out; changes no answer in float32",
    )
    max_model_len: int | None = Field(
        None, ge=1, description="Context length in tokens; when empty, the model's"
    )


EngineConfig = Annotated[
    OpenAIEngineConfig | VllmEngineConfig | TransformersEngineConfig, Field(discriminator="kind")
]
