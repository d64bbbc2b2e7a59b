"""Which servers the storage credentials of the environment are for: of S3, of the Hugging Face hub.

A config may name another server; what signs in there is not the config's but the environment's.
"""

import os
from urllib.parse import urlsplit

HUB = "https://huggingface.co"


def origin(url: str) -> tuple[str, str]:
    """Return the scheme and the host with its port ('' for what a text lacks)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def s3_endpoint() -> str:
    """Return the S3 server that the environment names, as boto reads it ('' for AWS)."""
    if os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return ""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def is_own_s3(url: str) -> bool:
    """Tell whether a URL is of the S3 server that the environment names."""
    return bool(own := s3_endpoint()) and origin(url) == origin(own)


def takes_hub_token(url: str) -> bool:
    """Tell whether HF_TOKEN is for a URL: the hub's, or that of HF_ENDPOINT."""
    return origin(url) in (origin(HUB), origin(os.environ.get("HF_ENDPOINT") or HUB))
