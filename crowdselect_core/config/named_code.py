"""Code that a config names, beside its commands: where whoever starts a run may have it run.

Commands of a config (`training.command`, `engine.python`, ...) need CROWDSELECT_ALLOW_COMMANDS=1 of
every process. Code of a model's repository, a Python function and options that load code need it in
the run of a deployment alone: there a form is filled in by others than those whom the worker's
machine belongs to. At a command line they are one, and the config is a file of theirs. So it is
with options by which the worker's credentials would go to a server that the config names.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from crowdselect_core.config.crowd import read_crowd
from crowdselect_core.config.executor import AUTO
from crowdselect_core.config.key_variable import DEFAULT, takes_default_key
from crowdselect_core.config.methods import is_function
from crowdselect_core.config.storage_access import unsafe_options
from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.processes.user_command import ALLOWED

# Options of a vLLM server that load no code. Any other may: a plugin's file, a class by its name,
# a logging config that calls what it names.
_SAFE_OPTIONS = frozenset(
    """api_server_count async_scheduling block_size calculate_kv_scales chat_template
    chat_template_content_format cpu_offload_gb disable_cascade_attn disable_custom_all_reduce
    disable_log_requests disable_log_stats disable_sliding_window disable_uvicorn_access_log
    enable_chunked_prefill enable_expert_parallel enable_log_requests enable_prefix_caching
    enforce_eager gpu_memory_utilization kv_cache_dtype kv_cache_memory kv_cache_memory_bytes
    limit_mm_per_prompt load_format logprobs_mode max_cpu_loras max_logprobs max_lora_rank max_loras
    max_model_len max_num_batched_tokens max_num_seqs max_parallel_loading_workers
    max_seq_len_to_capture num_gpu_blocks_override override_generation_config reasoning_parser
    rope_scaling rope_theta scheduling_policy seed swap_space tokenizer tokenizer_mode
    tokenizer_pool_size tokenizer_revision uvicorn_log_level""".split()  # noqa: SIM905
)
# Variables of its environment that are numbers, names and switches. Others load code (LD_PRELOAD,
# PYTHONPATH, VLLM_PLUGINS) or name files that do.
_SAFE_VARIABLES = frozenset(
    """CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES HF_HUB_OFFLINE MKL_NUM_THREADS NCCL_DEBUG
    NCCL_IB_DISABLE NCCL_P2P_DISABLE NCCL_SOCKET_IFNAME OMP_NUM_THREADS OMP_PROC_BIND
    PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF TOKENIZERS_PARALLELISM TRANSFORMERS_OFFLINE
    VLLM_ALLOW_LONG_MAX_MODEL_LEN VLLM_ATTENTION_BACKEND VLLM_CPU_KVCACHE_SPACE
    VLLM_CPU_NUM_OF_RESERVED_CPU VLLM_CPU_OMP_THREADS_BIND VLLM_LOGGING_LEVEL
    VLLM_USE_DEEP_GEMM VLLM_USE_FLASHINFER_SAMPLER VLLM_USE_V1
    VLLM_WORKER_MULTIPROC_METHOD""".split()  # noqa: SIM905
)


def check_named_code(config: BaseModel) -> None:
    """Check that this process, which runs a deployment, may run the code that a config names.

    Raises:
        ConfigError: it names some, and the environment does not allow it.
        CrowdError: its crowd file cannot be read.
    """
    if os.environ.get(ALLOWED) == "1":
        return
    if found := list(dict.fromkeys(_found(config.model_dump(), ()))):
        raise ConfigError(
            f"{shown(found)}: a deployment runs no code that a config names, sends {DEFAULT} to "
            "OpenAI and OPENAI_BASE_URL alone, and signs in to the storage of its environment "
            f"alone (AWS_ENDPOINT_URL, HF_ENDPOINT): set {ALLOWED}=1 in the environment of the "
            "worker, if you trust all who can start a run"
        )


def _found(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Yield the keys that name code; of a grid's mappings too, which are no configs yet."""
    if isinstance(value, Mapping):
        yield from _of_mapping(value, keys)
        for name, below in value.items():
            yield from _found(below, (*keys, str(name)))
    elif isinstance(value, list | tuple):
        for place, below in enumerate(value):
            yield from _found(below, (*keys, str(place)))
    elif isinstance(value, str) and keys:
        if keys[-1] == "crowd":  # the name of a file
            yield from _found(read_crowd(value).model_dump(), keys)
        # of the grid: experiment.methods.0
        if (keys[-1] == "method" or "methods" in keys[-2:-1]) and is_function(value):
            yield ".".join(keys)


def _of_mapping(value: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    where = ".".join((*keys, ""))
    if value.get("trust_remote_code") not in (None, False):
        yield f"{where}trust_remote_code"
    if value.get("kind") == "function":
        yield f"{where}path"
    if value.get("kind") == "vllm" or keys[-1:] == ("engine",):
        for section, safe in (("args", _SAFE_OPTIONS), ("environment", _SAFE_VARIABLES)):
            given = value.get(section)
            for name, text in given.items() if isinstance(given, Mapping) else ():
                plain = str(name).replace("-", "_") if section == "args" else str(name)
                if plain not in safe and text is not None:
                    yield f"{where}{section}.{name}"
    options = value.get("storage_options")
    if isinstance(options, Mapping):
        for name in unsafe_options(str(value.get("path")), options):
            yield f"{where}storage_options.{name}"
    urls = value.get("base_url") or ()
    if value.get("api_key_env") == DEFAULT and not all(
        takes_default_key(str(url)) for url in ([urls] if isinstance(urls, str) else urls)
    ):
        yield f"{where}api_key_env"
    # A cluster's nodes send the driver objects, which run code as they are read.
    address = value.get("address")
    ours = (None, AUTO, os.environ.get("RAY_ADDRESS"))
    if keys[-1:] == ("executor",) and address not in ours:
        yield f"{where}address"
