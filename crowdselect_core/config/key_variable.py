"""Which environment variables are keys of which endpoints.

A config chooses both the variable and the URL that its value is sent to. Whoever starts a run, in
a form of the Prefect UI too, could name a credential of the worker that belongs to another service.
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from crowdselect_core.util.service_endpoints import origin

DEFAULT = "OPENAI_API_KEY"
OWN_HOST = "api.openai.com"

_FOREIGN = re.compile(
    r"(?:AWS|AZURE|ARM|GOOGLE|GCP|GCLOUD|CLOUDSDK|BOTO|S3|MINIO|HF|HUGGING_?FACE|PREFECT|RAY_AUTH|WANDB"
    r"|MLFLOW|COMET|TRACKIO|GITHUB|GH|GITLAB|KUBE|KUBERNETES|DOCKER|PG|POSTGRES|POSTGRESQL|MYSQL"
    r"|MONGO|MONGODB|REDIS|DATABASE|DB|SSH|CROWDSELECT)_.*|KUBECONFIG|PGPASSWORD"
    r"|.*(?:SECRET_?ACCESS_?KEY|SESSION_TOKEN|PASSWORD|PASSPHRASE|CONNECTION_STRING|PRIVATE_KEY"
    r"|CREDENTIALS|_DSN|_URL|_URI)",
    re.IGNORECASE,
)
# By their names keys of some endpoint or service, which a config may name in api_key_env.
_KEYS = re.compile(
    r"OPENAI_.*|(?:.*_)?(?:KEY|APIKEY|KEY_ID|TOKEN|APITOKEN|SECRET|PAT|PASS|PASSWD|AUTH"
    r"|AUTHORIZATION|CREDENTIAL|COOKIE|WEBHOOK)(?:_?\d+)?",
    re.IGNORECASE,
)
_AZURE = r"[\w-]+\.(?:openai|services\.ai|cognitiveservices|models\.ai)\.azure\.com"
# Of these services there are endpoints that take OpenAI's requests, and their own keys.
_OWN_HOSTS = {
    "HF_TOKEN": r"router\.huggingface\.co|(?:[\w-]+\.){3}endpoints\.huggingface\.cloud",
    "GITHUB_TOKEN": r"models\.github\.ai|models\.inference\.ai\.azure\.com",
    "AZURE_OPENAI_API_KEY": _AZURE,
    "AZURE_OPENAI_KEY": _AZURE,
    "AZURE_API_KEY": _AZURE,
    "GOOGLE_API_KEY": r"generativelanguage\.googleapis\.com",
    "AWS_BEARER_TOKEN_BEDROCK": r"bedrock-(?:runtime|mantle)\.[\w-]+\.(?:amazonaws\.com|api\.aws)",
}


def check_key_variable(name: str, urls: Sequence[str]) -> None:
    """Refuse a variable that by its name is a credential of something else than the endpoint.

    Args:
        name: of the variable.
        urls: of the endpoint; empty where the config names none, so that OPENAI_BASE_URL holds.

    Raises:
        ValueError: it is.
    """
    hosts = _OWN_HOSTS.get(name)
    asked = list(urls) or [os.environ.get("OPENAI_BASE_URL", "")]
    if hosts and all(_is_of(url, hosts) for url in asked):
        return
    if _FOREIGN.fullmatch(name):
        raise ValueError(
            f"api_key_env: {name[:80]} is by its name no key of this endpoint, to which it would "
            "be sent: put the endpoint's key into a variable of another name, such as GPU1_KEY"
        )


def is_credential(name: str) -> bool:
    """Tell a variable that by its name is a credential, or belongs to one (AWS_REGION)."""
    return any(pattern.fullmatch(name) for pattern in (_FOREIGN, _KEYS))


def takes_default_key(url: str) -> bool:
    """Tell whether DEFAULT is for a URL: OpenAI's own host, or that of OPENAI_BASE_URL.

    Everybody else would learn it, and over plain http whoever listens.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "https" and (host == OWN_HOST or host.endswith(f".{OWN_HOST}")):
        return True  # eu.api.openai.com
    return bool(host) and origin(url) == origin(os.environ.get("OPENAI_BASE_URL", ""))


def _is_of(url: str, hosts: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and re.fullmatch(hosts, parts.hostname or "") is not None
