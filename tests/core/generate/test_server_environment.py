"""What a vLLM server is told of the environment of the run: no credential of another service."""

import pytest

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.generate.vllm.command import environment

OTHERS = [
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "S3_SECRET_ACCESS_KEY",
    "AWS_PROFILE", "AZURE_CLIENT_SECRET", "GOOGLE_APPLICATION_CREDENTIALS", "OPENAI_API_KEY",
    "OPENAI_ORG_ID", "ANTHROPIC_API_KEY", "GPU1_KEY", "PREFECT_API_KEY", "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING", "WANDB_API_KEY", "GITHUB_TOKEN", "CI_JOB_TOKEN", "DATABASE_URL",
    "SMTP_PASSWORD", "RAY_AUTH_TOKEN", "SSH_AUTH_SOCK", "MY_API_KEY_1", "OPENROUTER_KEY2",
    "GPU1_APITOKEN", "APP_CREDENTIAL", "AUTHORIZATION",
]  # fmt: skip
NEEDED = [
    "HF_TOKEN", "HF_HOME", "HF_ENDPOINT", "HUGGING_FACE_HUB_TOKEN", "HTTPS_PROXY", "NO_PROXY",
    "CUDA_HOME", "VLLM_CACHE_ROOT", "VLLM_HOST_IP", "PATH", "HOME", "LD_LIBRARY_PATH",
    "SSL_CERT_FILE", "NCCL_DEBUG", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "TMPDIR",
]  # fmt: skip


def told(**keys: object) -> dict[str, str]:
    return environment(VllmEngineConfig.model_validate({"kind": "vllm", **keys}), ["1"], "ours")


def test_credentials_of_other_services_stay_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*OTHERS, *NEEDED, "VLLM_API_KEY"):
        monkeypatch.setenv(name, "theirs")
    found = told(environment={"OMP_NUM_THREADS": "3"})
    assert found.keys().isdisjoint(OTHERS)
    assert {found[name] for name in NEEDED} == {"theirs", "3"}
    assert found["VLLM_API_KEY"] == "ours"
    assert (found["OMP_NUM_THREADS"], found["CUDA_VISIBLE_DEVICES"]) == ("3", "1")


def test_a_store_that_vllm_is_to_load_from_keeps_its_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in OTHERS:
        monkeypatch.setenv(name, "theirs")
    found = told(args={"model_loader_extra_config": {"tensorizer_uri": "s3://bucket/weights"}})
    kept = {name for name in OTHERS if name in found}
    assert kept == {name for name in OTHERS if name.startswith(("AWS_", "S3_"))}
