"""Keys from Prefect Secret blocks; they are held in memory and written nowhere."""

from typing import Any

from crowdselect_core.errors import ConfigError


def secret(block: str) -> str:
    """Read a Prefect Secret block.

    Raises:
        ConfigError: there is none of that name.
    """
    from prefect.blocks.system import Secret

    try:
        loaded: Any = Secret.load(block)
    except ValueError:
        raise ConfigError(
            f"Prefect has no Secret block {block!r} (api_key_block): create it in the UI under "
            "Blocks, or name an environment variable in api_key_env"
        ) from None
    return str(loaded.get())
