"""The key of an endpoint, read again from where it came from once the endpoint refuses it."""

import logging
import os
import threading
import time
from collections.abc import Callable

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.config.key_variable import DEFAULT
from crowdselect_core.errors import ConfigError

log = logging.getLogger("crowdselect")

AGAIN = 10.0  # seconds until a source that held the refused key is read again


class ApiKey:
    """The key that an endpoint is asked with; safe to use from several threads.

    Args:
        name: the crowd model's, for messages.
        config: names the variable or the block.
        given: goes before the environment: a key, or what reads one (a Prefect block).
        default: whether OPENAI_API_KEY is the key where the config names none.

    Raises:
        ConfigError: the variable that the config names is not set, or no header can carry the key.
    """

    def __init__(
        self,
        name: str,
        config: OpenAIEngineConfig,
        given: str | Callable[[], str] | None = None,
        *,
        default: bool = False,
    ) -> None:
        self._name, self._given = name, given
        self._variable = config.api_key_env or (DEFAULT if default else None)
        self._required = config.api_key_env is not None
        block = config.api_key_block
        #: What to call its source in a message.
        self.source = f"the environment variable {self._variable}"
        if self._variable is None:
            self.source = (
                f"engine.api_key_env or engine.api_key_block ({DEFAULT} is sent to OpenAI's own "
                "host and that of OPENAI_BASE_URL alone)"
            )
        if given is not None:
            self.source = f"the Prefect block {block}" if block else "the api_key given"
        self._lock = threading.Lock()
        self._next = time.monotonic()  # a request sent before says nothing new of the key
        self._value = self._read()

    @property
    def value(self) -> str | None:
        """The key; None where there is none."""
        return self._value

    def renewed(self, refused: str | None, sent: float) -> bool:
        """Read the key again; tell whether it is another one than the endpoint refused.

        Of many requests that are refused together one reads: its look came after they were sent.
        A source that cannot be read now holds the refused key, as far as is known.

        Args:
            refused: the key of the request.
            sent: when that was sent, by `time.monotonic`.
        """
        with self._lock:
            if self._value == refused and self._next <= sent:
                self._look(refused)
            return self._value != refused

    def _look(self, refused: str | None) -> None:
        try:
            self._value = self._read()
        except ConfigError as e:
            log.warning("%s; the endpoint refused the key that it held before", e)
        self._next = time.monotonic()
        if self._value != refused:
            log.warning(
                "%s: the endpoint refused its key; going on with a new one from %s",
                self._name, self.source,
            )  # fmt: skip
        else:
            self._next += AGAIN

    def _read(self) -> str | None:
        held = self._given() if callable(self._given) else self._given
        if held is None and self._variable is not None:
            held = os.environ.get(self._variable)
            if self._required and not held:
                raise ConfigError(
                    f"{self._name}: {self.source} that api_key_env names is not set: export it "
                    "with the key"
                )
        key = (held or "").strip() or None
        if key is not None and key.startswith("{"):
            raise ConfigError(
                f"{self._name}: {self.source} holds a JSON object, as that of credentials_block "
                "is, and no key: name the one with the endpoint's key"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ConfigError(
                f"{self._name}: {self.source} holds characters that no key has: set it anew"
            )
        return key
