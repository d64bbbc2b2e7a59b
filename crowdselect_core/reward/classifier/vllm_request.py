"""Requests to /classify of a vLLM server: raw numbers of pairs that are sent as token ids."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import aiohttp

from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.openai.response import read_json
from crowdselect_core.generate.openai.trouble import (
    BadReply,
    Trouble,
    trouble_of,
    trouble_of_reply,
)
from crowdselect_core.util.http import bearer, open_session
from crowdselect_core.util.retry import backoff

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0  # seconds before the first and the last retry


class ClassifyEndpoint:
    """The /classify of one server.

    Args:
        name: of the reward model, for messages.
        base_url: the server's, with or without /v1.
        key: of a server that asks for one.
    """

    def __init__(self, name: str, base_url: str, key: str | None) -> None:
        self._name, self._key = name, key
        self.url = base_url.rstrip("/").removesuffix("/v1") + "/classify"

    def session(self, width: int, seconds: float) -> aiohttp.ClientSession:
        """Open a session; inside an event loop."""
        return open_session(self.url, bearer(self._key), width=width, seconds=seconds)

    async def ask(
        self,
        session: aiohttp.ClientSession,
        inputs: Sequence[Sequence[int]],
        *,
        raw: bool,
        retries: int,
    ) -> list[float] | Trouble:
        """Return one number an input, in their order, or why there is none after all tries.

        Args:
            session: of this endpoint.
            inputs: token ids.
            raw: whether the server's sigmoid is switched off.
            retries: of what may pass.

        Raises:
            ConfigError: the server answers in another form.
        """
        body = {"input": inputs, "use_activation": not raw}
        waits = backoff(FIRST_WAIT, LONGEST_WAIT)
        for tries_left in range(retries, -1, -1):
            found = await self._post(session, body, len(inputs))
            if not isinstance(found, Trouble) or not found.again or not tries_left:
                break
            await asyncio.sleep(next(waits) if found.wait is None else found.wait)
        return found

    def not_one(self, trouble: Trouble) -> ConfigError:
        """Return the error for a server that refuses requests as such, or is not up."""
        if trouble.again:
            return ConfigError(
                f"reward model {self._name!r}: {self.url}: {trouble.code}: {trouble.words}; is a "
                "vLLM server with --runner pooling up?"
            )
        return ConfigError(
            f"reward model {self._name!r}: {self.url} answers {trouble.words!r}; expected a vLLM "
            "server started with --runner pooling that needs no key"
        )

    async def _post(
        self, session: aiohttp.ClientSession, body: dict[str, Any], count: int
    ) -> list[float] | Trouble:
        try:
            async with session.post(self.url, json=body) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as e:
            return trouble_of(e, self._key)
        if response.status != 200:
            return trouble_of_reply(response.status, response.headers, raw, self._key)
        try:
            return self._numbers(read_json(raw), count)
        except BadReply:
            return self._numbers({}, count)

    def _numbers(self, reply: dict[str, Any], count: int) -> list[float]:
        data = reply.get("data")
        try:
            rows = sorted(data or [], key=lambda row: row["index"])
            numbers = [[math.nan if x is None else float(x) for x in r["probs"]] for r in rows]
        except (KeyError, TypeError, ValueError):
            numbers = []
        if len(numbers) != count or any(len(row) != 1 for row in numbers):
            raise ConfigError(
                f"reward model {self._name!r}: {self.url} answers in another form, expected one "
                f"number for each of {count} pairs in data[].probs, as vLLM's /classify gives it"
            )
        return [row[0] for row in numbers]
