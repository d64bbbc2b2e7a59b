"""A config names a key of the endpoint, and no other credential of the environment."""

import pytest

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.errors import ConfigError


def named(variable: str, url: str = "https://evil.invalid/v1") -> OpenAIEngineConfig:
    return checked(OpenAIEngineConfig, {"kind": "openai", "base_url": url, "api_key_env": variable})


@pytest.mark.parametrize(
    "variable",
    [
        "AWS_SECRET_ACCESS_KEY", "aws_session_token", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
        "HUGGINGFACE_HUB_TOKEN", "AZURE_STORAGE_KEY", "GOOGLE_API_KEY", "PREFECT_API_KEY",
        "RAY_AUTH_TOKEN", "WANDB_API_KEY", "DATABASE_URL", "PGPASSWORD", "MY_S3_SECRET_ACCESS_KEY",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL", "GITHUB_TOKEN", "KUBECONFIG",
    ],
)  # fmt: skip
def test_credentials_of_other_services_are_refused(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} is by its name no key of this endpoint"):
        named(variable)


@pytest.mark.parametrize(
    "variable", ["GPU1_KEY", "HOSTED_KEY", "OPENAI_API_KEY", "MY_AZURE_KEY", "RAY_SERVE_KEY", "K"]
)
def test_other_names_are_taken(variable: str) -> None:
    assert named(variable).api_key_env == variable


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("HF_TOKEN", "https://router.huggingface.co/v1"),
        ("HF_TOKEN", "https://abc.us-east-1.aws.endpoints.huggingface.cloud/v1"),
        ("GITHUB_TOKEN", "https://models.github.ai/inference"),
        ("AZURE_OPENAI_KEY", "https://mine.services.ai.azure.com/openai/v1"),
        ("AZURE_OPENAI_API_KEY", "https://mine.openai.azure.com/openai/v1"),
        ("GOOGLE_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("AWS_BEARER_TOKEN_BEDROCK", "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1"),
    ],
)
def test_a_services_own_endpoint_takes_its_key(variable: str, url: str) -> None:
    assert named(variable, url).api_key_env == variable
    for other in (url.replace("https", "http"), url.replace("://", "://x."), "https://e.invalid"):
        with pytest.raises(ConfigError, match="is by its name no key"):
            named(variable, other)
