"""The fsspec file system of a URL; of S3 with the server and the credentials of the environment."""

from typing import Any

import fsspec

from crowdselect_core.errors import ConfigError, StorageError, first_line
from crowdselect_core.store.backend import credentials
from crowdselect_core.store.backend.errors import explain
from crowdselect_core.urls import shown_path
from crowdselect_core.util.service_endpoints import HUB, s3_endpoint, takes_hub_token

# A wrong endpoint or key must be told within seconds; what may pass is retried by the tasks.
_S3: dict[str, Any] = {
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}},
    "use_listings_cache": False,
}


def file_system(url: str, options: dict[str, Any] | None = None) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path in it.

    Raises:
        ConfigError: an option would send HF_TOKEN to another server than the hub.
        StorageError: no package reads such URLs, an option is wanted, the server does not answer.
    """
    protocol = url.split("://", 1)[0]
    settings: dict[str, Any] = dict(options or {})
    if "hf" in url.replace("::", "://").split("://") and settings.get("endpoint"):
        _check_hub(str(settings["endpoint"]))
    if protocol in ("s3", "s3a"):
        settings = _S3 | settings
        given = settings.get("client_kwargs", {})
        if not (settings.get("endpoint_url") or given.get("endpoint_url")):
            # Said aloud, or fsspec hands out the server that the environment named earlier.
            settings["endpoint_url"] = s3_endpoint() or None
    try:
        if protocol in ("s3", "s3a"):
            _renew_credentials(settings)
        fs, path = fsspec.url_to_fs(url, **settings)
    except (ImportError, ValueError) as e:
        raise StorageError(
            f"{protocol}:// cannot be opened: {first_line(e)}; install the fsspec package for it, "
            "or use a local path or s3://"
        ) from None
    except TypeError as e:  # an argument of the file system is missing or unknown
        raise StorageError(
            f"{protocol}:// cannot be opened: {first_line(e)}; set what it needs in "
            "dataset.storage_options, or use a local path or s3://"
        ) from None
    except Exception as e:  # some connect at once: ftp://, sftp://
        raise explain(e, "open", shown_path(url)) from None
    return fs, str(path)


def _check_hub(endpoint: str) -> None:
    """Refuse a hub that a config names: its file system sends HF_TOKEN, over plain http too."""
    if not takes_hub_token(endpoint):
        raise ConfigError(
            f"storage_options.endpoint: {shown_path(endpoint)!r} is neither {HUB} nor HF_ENDPOINT, "
            "and HF_TOKEN would be sent to it: leave it out, and where you trust that server with "
            "the token, set HF_ENDPOINT in the environment"
        )


def _renew_credentials(settings: dict[str, Any]) -> None:
    """Have a file system of S3 sign with what the source of the credentials holds at the time."""
    if settings.get("anon") or settings.get("key") or settings.get("session"):
        return
    settings["session"] = credentials.session_of(settings.pop("profile", None))
