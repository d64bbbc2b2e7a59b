"""Code that the config of a deployment's run names runs only where the worker allows it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from crowdselect_core.config.named_code import check_named_code
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from tasks import flow_runs

BASE: dict[str, Any] = {"dataset": {"path": "d"}, "reward_models": ["r"]}
SERVER = {"kind": "vllm", "model": "m"}


def of(**keys: Any) -> SelectConfig:
    return SelectConfig.model_validate(BASE | keys)


def crowd(**engine: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "family": "f", "size": 1, "engine": SERVER | engine}]


def reward(**keys: Any) -> list[dict[str, Any]]:
    return [{"name": "w", **keys}]


NAMED = [
    ("method", {"method": "mine:rank"}),
    ("experiment.methods.1", {"experiment": {"methods": ["random", "mine:rank"]}}),
    ("experiment.methods.0.method", {"experiment": {"methods": [{"method": "mine:rank"}]}}),
    (
        "experiment.methods.0.ifd.trust_remote_code",
        {"experiment": {"methods": [{"method": "ifd", "ifd": {"trust_remote_code": True}}]}},
    ),
    ("reward_models.0.path", {"reward_models": reward(kind="function", path="os:system")}),
    (
        "reward_models.0.trust_remote_code",
        {"reward_models": reward(kind="classifier", model="m", trust_remote_code=True)},
    ),
    ("crowd.0.engine.trust_remote_code", {"crowd": crowd(trust_remote_code=True)}),
    ("crowd.0.engine.environment.LD_PRELOAD", {"crowd": crowd(environment={"LD_PRELOAD": "x"})}),
    ("crowd.0.engine.args.worker-cls", {"crowd": crowd(args={"worker-cls": "os.system"})}),
    ("crowd.0.engine.args.compilation_config", {"crowd": crowd(args={"compilation_config": 3})}),
    (
        "embedder.trust_remote_code",
        {"embedder": {"kind": "sentence-transformers", "model": "m", "trust_remote_code": True}},
    ),
    (
        "crowd.0.engine.api_key_env",
        {
            "crowd": [
                {
                    "name": "m",
                    "family": "f",
                    "size": 1,
                    "engine": {
                        "kind": "openai",
                        "base_url": "https://evil.invalid/v1",
                        "api_key_env": "OPENAI_API_KEY",
                    },
                }
            ]
        },
    ),
    ("executor.address", {"executor": {"kind": "ray", "address": "evil.invalid:6379"}}),
]


@pytest.mark.parametrize(("key", "keys"), NAMED)
def test_code_of_a_config_is_refused_with_what_to_set(
    key: str, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    config = of(**keys)
    with pytest.raises(ConfigError, match=rf"^{key}: .*set CROWDSELECT_ALLOW_COMMANDS=1 in the"):
        check_named_code(config)
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    check_named_code(config)


S3 = "s3://bucket/zoo.parquet"
ELSEWHERE: list[tuple[str, str, dict[str, Any]]] = [
    ("endpoint_url", S3, {"endpoint_url": "http://evil.invalid"}),
    ("endpoint_url", S3, {"endpoint_url": "https://s3.example.evil.invalid", "anon": False}),
    ("endpoint_url", S3, {"endpoint_url": "http://s3.example"}),
    ("endpoint_url", "gs://b/x", {"endpoint_url": "https://evil.invalid", "anon": True}),
    ("endpoint_url", "simplecache::s3://b/x", {"endpoint_url": "https://s3.example"}),
    ("use_ssl", S3, {"use_ssl": False}),
    ("endpoint", "hf://datasets/a/b/x.parquet", {"endpoint": "https://evil.invalid"}),
    ("account_host", "abfs://c/x", {"account_host": "evil.invalid"}),
    ("account_name", "abfs://c/x", {"account_name": "evil.invalid/"}),
    ("proxy", "http://host/x", {"proxy": "http://evil.invalid"}),
    ("cache_storage", "simplecache::http://host/x", {"cache_storage": "/etc"}),
]


@pytest.mark.parametrize(("name", "path", "options"), ELSEWHERE)
def test_a_deployment_signs_in_to_the_storage_of_its_environment_alone(
    name: str, path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    config = of(dataset={"path": path, "storage_options": options})
    with pytest.raises(ConfigError, match=rf"^dataset\.storage_options\.{name}: .*ENDPOINT_URL"):
        check_named_code(config)
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
    check_named_code(config)


def test_the_environments_own_storage_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example")
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:81")
    taken: list[tuple[str, dict[str, Any]]] = [
        (S3, {"endpoint_url": "https://S3.example/", "requester_pays": True}),
        (S3, {"endpoint_url": "http://public.invalid", "anon": True}),  # signs nothing
        (S3, {"endpoint_url": None}),
        ("hf://datasets/a/b/x.parquet", {"endpoint": "http://mirror.example:81"}),
        ("abfs://c/x", {"account_name": "zoo2"}),
    ]
    for path, options in taken:
        check_named_code(of(dataset={"path": path, "storage_options": options}))


def test_code_of_a_crowd_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    file = tmp_path / "crowd.yaml"
    file.write_text(yaml.safe_dump({"crowd": crowd(trust_remote_code=True)}))
    with pytest.raises(ConfigError, match=r"crowd\.0\.engine\.trust_remote_code: "):
        check_named_code(of(crowd=str(file)))


def test_configs_without_code_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    check_named_code(of())
    check_named_code(of(method="column:c", executor={"kind": "ray", "address": "auto"}))
    options = {"max-model-len": 8192, "gpu_memory_utilization": 0.9, "chat_template": "t"}
    variables = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    check_named_code(of(crowd=crowd(args=options, environment=variables)))


def test_only_the_run_of_a_deployment_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a command line the config is a file of whoever starts the run."""
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS", raising=False)
    config = of(method="mine:rank")
    flow_runs._check_code([config])
    for deployment, refused in ((None, False), ("id", True)):
        run = SimpleNamespace(flow_run=SimpleNamespace(deployment_id=deployment))
        monkeypatch.setattr(flow_runs, "FlowRunContext", SimpleNamespace(get=lambda run=run: run))
        if refused:
            with pytest.raises(ConfigError, match=r"^method: "):
                flow_runs._check_code([config])
        else:
            flow_runs._check_code([config])
