"""Keys from Prefect Secret blocks; they are held in memory and written nowhere."""

import json
import os
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.store.backend import credentials

# What a block of storage credentials may hold; the names that S3 clients read.
STORAGE = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    }
)

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

OTHERS = ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3")


def secret(block: str) -> str:
    """Read a Prefect Secret block that holds the key of an endpoint.

    Raises:
        ConfigError: there is none of that name, or the Prefect server does not answer.
    """
    return str(_load(block, "api_key_block", "name an environment variable in api_key_env"))


def lend(config: SelectConfig) -> None:
    """Put the storage credentials of the block that the config names into the environment.

    They reach this process and those that it starts, and nothing else. Where a server refuses them
    later, the block is read again: somebody may have changed it.

    Raises:
        ConfigError: there is no such block, or it holds something else; its words are not repeated.
    """
    block = config.credentials_block
    if block is None:
        credentials.set_source(None)
        return
    _put(block)
    credentials.set_source(lambda: _put(block))


def _put(block: str) -> None:
    """Put the credentials that a block holds now into the environment."""
    remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
    held = _load(block, "credentials_block", remedy)
    try:
        found = json.loads(held) if isinstance(held, str) else held
    except ValueError:
        found = None
    fits = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    if not fits or not found or not STORAGE.issuperset(found):
        raise ConfigError(
            f"Secret block {block!r} (credentials_block): expected a JSON "
            f"object whose keys are of {', '.join(sorted(STORAGE))} and whose values are texts"
        )
    if "AWS_ENDPOINT_URL" in found and not all(found.get(name) for name in KEYS):
        # Who makes a block would have the worker's own keys sign at a server of theirs; with empty
        # ones too, for boto then looks for others.
        raise ConfigError(
            f"Secret block {block!r} (credentials_block): holds AWS_ENDPOINT_URL without "
            f"{' and '.join(KEYS)}: add the keys of that server, or set AWS_ENDPOINT_URL in "
            "the environment"
        )
    if "AWS_ACCESS_KEY_ID" in found:  # a token or a profile of other keys does not go with these
        for name in OTHERS:
            os.environ.pop(name, None)
    os.environ.update(found)


def _load(block: str, key: str, remedy: str) -> Any:
    import httpx
    from prefect.blocks.system import Secret
    from prefect.exceptions import PrefectException

    try:
        loaded: Any = Secret.load(block)
    except ValueError:
        raise ConfigError(
            f"Prefect has no Secret block {block!r} ({key}): create it in the UI under Blocks, or "
            f"{remedy}"
        ) from None
    except (httpx.HTTPError, PrefectException) as e:
        raise ConfigError(
            f"Secret block {block!r} ({key}): the Prefect server did not give it "
            f"({type(e).__name__}): look at the server, or {remedy}"
        ) from None
    return loaded.get()
