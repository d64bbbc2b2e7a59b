"""What changes a model's answers: the part of its config that names a cell.

In: weights, sampling, prompts, template options, dtype, quantization, lengths, what is passed
through to the server. Out: URLs, keys, concurrency, retries, devices, and the engine that ran it:
the same weights under vLLM or transformers are the same crowd model.
"""

from typing import Any

from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.engine import (
    EngineConfig,
    OpenAIEngineConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.errors import CrowdError
from crowdselect_core.models.hub import COMMIT, model_identity
from crowdselect_core.store.identity import Spec

STAGE, VERSION = "generated", 1

# Options of a vLLM server that change where and how fast it computes, and not what.
EXECUTION = frozenset(
    [
        "api_server_count",
        "block_size",
        "compilation_config",
        "cpu_offload_gb",
        "disable_log_requests",
        "disable_log_stats",
        "disable_uvicorn_access_log",
        "distributed_executor_backend",
        "enable_chunked_prefill",
        "enable_log_requests",
        "enable_prefix_caching",
        "enforce_eager",
        "gpu_memory_utilization",
        "kv_cache_memory",
        "load_format",
        "max_num_batched_tokens",
        "max_num_seqs",
        "max_parallel_loading_workers",
        "num_gpu_blocks_override",
        "swap_space",
        "tokenizer_pool_size",
        "uvicorn_log_level",
    ]
)


def cache_spec(model: CrowdModel) -> Spec:
    """Name the cells of a model's answers.

    Raises:
        CrowdError: the model has no engine.
        ConfigError: its weights are not there or cannot be pinned.
    """
    if model.engine is None:
        raise CrowdError(f"crowd model {model.name!r} has no engine: say what answers for it")
    return Spec(
        STAGE,
        VERSION,
        {
            **engine_identity(model.engine, model.name, model.revision),
            "sampling": sampling_identity(model.sampling),
            "chat_template_kwargs": model.chat_template_kwargs,
            "system_prompt": model.system_prompt,
        },
    )


def engine_identity(
    engine: EngineConfig, name: str, revision: str | None, weights: str | None = None
) -> dict[str, Any]:
    """Name what answers: weights that are pinned, or an alias that is marked unpinned.

    Args:
        engine: what runs it.
        name: of the model, where the engine names none.
        revision: commit, tag or branch of a hub id.
        weights: the identity of weights that lie in no folder yet; None: those of the model.

    Raises:
        ConfigError: a folder or hub id that is not there.
    """
    model = engine.model or name
    match engine:
        case OpenAIEngineConfig():
            if revision is not None and COMMIT.fullmatch(revision):
                pinned: dict[str, Any] = {"weights": f"commit:{revision}"}
            else:
                pinned = {"alias": model, "revision": revision, "unpinned": True}
            return pinned | {"extra_body": engine.extra_body} if engine.extra_body else pinned
        case VllmEngineConfig():
            changing = changing_args(engine)
            length = changing.pop("max_model_len", None)
            local = _local(weights or model_identity(model, revision), engine.dtype, length)
            local |= {"quantization": engine.quantization} if engine.quantization else {}
            return local | ({"args": changing} if changing else {})
        case TransformersEngineConfig():
            named = weights or model_identity(model, revision)
            return _local(named, engine.dtype, engine.max_model_len)


def changing_args(engine: VllmEngineConfig) -> dict[str, Any]:
    """Return the further options of a server that change what it computes, in vLLM's own names."""
    args = {name.replace("-", "_"): value for name, value in engine.args.items()}
    return {name: args[name] for name in sorted(args) if name not in EXECUTION}


def sampling_identity(sampling: SamplingConfig) -> dict[str, Any]:
    """Name how an answer is drawn; how many are drawn changes none of them."""
    return sampling.model_dump(mode="json", exclude={"n"})


def is_unpinned(spec: Spec) -> bool:
    """Tell an alias whose weights may change behind its name."""
    return bool(spec.identity.get("unpinned"))


def _local(weights: str, dtype: str, length: int | None) -> dict[str, Any]:
    return {"weights": weights, "dtype": dtype} | (
        {"max_model_len": length} if length is not None else {}
    )
