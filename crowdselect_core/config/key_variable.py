"""Which environment variables a config may name as the key of an endpoint.

A config chooses both the variable and the URL that its value is sent to. Whoever starts a run, in
a form of the Prefect UI too, could name a credential of the worker that belongs to another service.
"""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_FOREIGN = re.compile(
    r"(?:AWS|AZURE|ARM|GOOGLE|GCP|GCLOUD|CLOUDSDK|BOTO|S3|MINIO|HF|HUGGING_?FACE|PREFECT|RAY|WANDB"
    r"|MLFLOW|COMET|TRACKIO|GITHUB|GH|GITLAB|KUBE|KUBERNETES|DOCKER|PG|POSTGRES|POSTGRESQL|MYSQL"
    r"|MONGO|MONGODB|REDIS|DATABASE|DB|SSH|CROWDSELECT)_.*|KUBECONFIG|PGPASSWORD"
    r"|.*(?:SECRET_?ACCESS_?KEY|SESSION_TOKEN|PASSWORD|PASSPHRASE|CONNECTION_STRING|PRIVATE_KEY"
    r"|CREDENTIALS|_DSN|_URL|_URI)",
    re.IGNORECASE,
)
# Of these services there are endpoints that take OpenAI's requests, and their own keys.
_OWN_HOSTS = {
    "HF_TOKEN": r"router\.huggingface\.co",
    "AZURE_OPENAI_API_KEY": r"[\w-]+\.(?:openai|services\.ai|cognitiveservices)\.azure\.com",
    "GOOGLE_API_KEY": r"generativelanguage\.googleapis\.com",
    "AWS_BEARER_TOKEN_BEDROCK": r"bedrock-(?:runtime|mantle)\.[\w-]+\.(?:amazonaws\.com|api\.aws)",
}


def check_key_variable(name: str, urls: Sequence[str]) -> None:
    """Refuse a variable that by its name is a credential of something else than the endpoint.

    Args:
        name: of the variable.
        urls: of the endpoint; empty where the config names none.

    Raises:
        ValueError: it is.
    """
    hosts = _OWN_HOSTS.get(name)
    if hosts and urls and all(_is_of(url, hosts) for url in urls):
        return
    if _FOREIGN.fullmatch(name):
        raise ValueError(
            f"api_key_env: {name[:80]} is by its name no key of this endpoint, to which it would "
            "be sent: put the endpoint's key into a variable of another name, such as GPU1_KEY"
        )


def _is_of(url: str, hosts: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and re.fullmatch(hosts, parts.hostname or "") is not None
