"""The command and the environment of a vLLM server, from its config."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.key_variable import is_credential
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.hub import hub_commit, local_folder
from crowdselect_core.processes.user_command import check_allowed
from crowdselect_core.urls import expanded
from crowdselect_core.util.extras import install

SERVED_NAME = "crowdselect"  # the model's name in requests, whatever folder or hub id it is
ADAPTER = "crowdselect-lora"  # the name of a LoRA adapter in requests
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
MODULE = "vllm.entrypoints.openai.api_server"
PROBE = "import importlib.util as u; print('yes' if u.find_spec('vllm') else 'no')"
PROBE_SECONDS = 15.0
LOCAL = "127.0.0.1"
OF_RAY = "RAY_"  # what a Ray worker's variables begin with: an address and a token among them
OF_SERVER = ("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "VLLM_")  # weights of the hub, and vLLM's own
# Credentials of the stores from which an option may have vLLM load (tensorizer_uri: s3://...).
OF_STORES = {"s3://": ("AWS_", "S3_"), "gs://": ("GOOGLE_",), "az://": ("AZURE_",)}
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")

# Options of the server that the run itself decides, or that have a key of their own.
OURS = frozenset(
    {"host", "port", "uds", "served_model_name", "api_key", "ssl_keyfile", "root_path"}
)
KEYS = frozenset(
    """model revision dtype quantization trust_remote_code
    tensor_parallel_size data_parallel_size pipeline_parallel_size""".split()  # noqa: SIM905
)


def interpreter(subject: str, config: VllmEngineConfig) -> str:
    """Return the interpreter that has vLLM.

    Raises:
        ConfigError: there is no such interpreter, or it has no vLLM; or the config names one, and
            this process may run no program of a config.
    """
    if config.python is not None:
        check_allowed(f"{subject}: engine.python")
    asked = config.python or sys.executable
    remedy = (
        "give the interpreter of an environment that has vLLM in engine.python (`make vllm-env` "
        f"makes .venv-vllm/bin/python), or {install('vllm')}"
    )
    found = shutil.which(expanded(asked))
    if found is None:
        raise ConfigError(f"{subject}: python: {asked!r} is no program that can be run; {remedy}")
    try:
        said = subprocess.run(  # noqa: S603 - the interpreter that the user named
            [found, "-c", PROBE], capture_output=True, timeout=PROBE_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as e:
        why = f"{asked!r} cannot be run: {type(e).__name__}"
        raise ConfigError(f"{subject}: python: {why}; {remedy}") from None
    answer = said.stdout.strip()
    if answer == b"yes":
        return found
    why = "has no vLLM" if answer == b"no" else "is no Python interpreter"
    raise ConfigError(f"{subject}: python: {asked!r} {why}; {remedy}")


def find_model(subject: str, model: str, revision: str | None) -> None:
    """Check that a folder holds a model, or that a hub id resolves.

    Raises:
        ConfigError: it does not, or a folder is given a revision.
    """
    try:
        folder = local_folder(model)
        if folder is None:
            hub_commit(model, revision)
            return
    except ConfigError as e:
        raise ConfigError(f"{subject}: {e}") from None
    if revision is not None:
        raise ConfigError(
            f"{subject}: model {model!r} is a folder and has no revision, found {revision!r}: "
            "leave revision out"
        )
    if not any((folder / name).is_file() for name in ("config.json", "params.json")):
        raise ConfigError(
            f"{subject}: model folder {model!r} has no config.json, expected a model's files"
        )


def lacks_template(model: str, config: VllmEngineConfig) -> bool:
    """Tell a folder's model that has no chat template and is given none: it gets the plain format.

    What a hub id has is not looked up; vLLM refuses chats of one without a template.
    """
    folder = local_folder(model)
    given = {name.replace("-", "_") for name in config.args}
    if folder is None or given & {"chat_template", "tokenizer"}:
        return False
    if any((folder / name).exists() for name in TEMPLATES):
        return False
    try:
        told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False  # what is wrong with its files, vLLM says itself
    return isinstance(told, dict) and not told.get("chat_template")


def command(
    python: str,
    config: VllmEngineConfig,
    *,
    model: str,
    revision: str | None,
    port: int,
    host: str = LOCAL,
    extra: Sequence[str] = (),
) -> list[str]:
    """Return the command of a server on a port of an address of this machine.

    What the user gives in `args` comes last: where vLLM is told something twice, the last counts.
    """
    folder = local_folder(model)
    words = [python, "-m", MODULE, "--model", str(folder.absolute()) if folder else model]
    words += ["--host", host, "--port", str(port), "--served-model-name", SERVED_NAME]
    words += ["--dtype", config.dtype, "--seed", "0"]
    # What a model's authors sample with would fill in what our sampling leaves out.
    words += ["--generation-config", "vllm"]
    for side in ("tensor", "data", "pipeline"):
        if (size := getattr(config, f"{side}_parallel_size")) > 1:
            words += [f"--{side}-parallel-size", str(size)]
    words += ["--revision", revision] if revision and folder is None else []
    words += ["--quantization", config.quantization] if config.quantization else []
    words += ["--trust-remote-code"] if config.trust_remote_code else []
    return [*words, *extra, *option_words(config.args)]


def option_words(args: Mapping[str, Any]) -> list[str]:
    """Return options in vLLM's own names as words of a command line; null leaves one out.

    Raises:
        ConfigError: an option that is ours to give, or no option at all.
    """
    words: list[str] = []
    for given, value in args.items():
        name = given.replace("-", "_")
        if name in OURS:
            raise ConfigError(f"engine.args: {given!r} is set by the run itself: leave it out")
        if name in KEYS:
            raise ConfigError(f"engine.args: {given!r} is a key of the engine: set engine.{name}")
        if not OPTION.fullmatch(name):
            raise ConfigError(
                f"engine.args: {given!r} is no option, expected vLLM's name of one without the "
                "leading dashes, such as max_model_len"
            )
        option = name.replace("_", "-")
        match value:
            case None:
                continue
            case bool():
                words.append(f"--{option}" if value else f"--no-{option}")
            case list():
                words += [f"--{option}", *map(_word, value)]
            case _:  # one word, so that a value may begin with a dash
                words.append(f"--{option}={_word(value)}")
    return words


def lora_words(adapter: Path) -> list[str]:
    """Return the options by which a server serves a LoRA adapter.

    Raises:
        ConfigError: the adapter has no readable config, or a rank above all that vLLM serves.
    """
    try:
        rank = json.loads((adapter / "adapter_config.json").read_text("utf-8"))["r"]
        most = next(allowed for allowed in RANKS if allowed >= rank)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        raise ConfigError(
            f"adapter {str(adapter)!r}: expected adapter_config.json with a rank r of at most "
            f"{RANKS[-1]}; set adapter: merge"
        ) from None
    return ["--enable-lora", f"--lora-modules={ADAPTER}={adapter.absolute()}",
            f"--max-lora-rank={most}"]  # fmt: skip


def environment(config: VllmEngineConfig, gpus: Sequence[str], key: str) -> dict[str, str]:
    """Return the server's environment: this process's, what the config adds, and the key.

    What a Ray worker is told is not the server's: vLLM would take that cluster for its own. Nor are
    the credentials of other services: neither it nor what it loads has a use for them.
    """
    ours = {"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if gpus:
        ours["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    asked = json.dumps(config.args)
    kept = (*OF_SERVER, *(p for url, of in OF_STORES.items() if url in asked for p in of))
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(kept) or not (name.startswith(OF_RAY) or is_credential(name))
    }
    return {**inherited, **config.environment, **ours}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
