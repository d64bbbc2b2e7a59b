"""An OpenAI-compatible endpoint without a model: repeatable answers, and faults on request.

For tests and drills: `python -m crowdselect_core.testing.faulty_endpoint --port 0 --fault 500=0.1`
prints its URL and serves /v1/models, /v1/chat/completions, /health, /stats and /last on loopback.

What it answers stands in `replies`. A fault comes by a rate, the same for the same attempt at the
same prompt, or by a marker in the prompt: `[[fault:500]]` always, `[[fault:500*2]]` for the first
two attempts.
"""

import argparse
import asyncio
import hashlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import orjson
from aiohttp import web

from crowdselect_core.testing import faults
from crowdselect_core.testing.replies import answer_text, completion, prompt_of, verdict_text

LOCAL = "127.0.0.1"
_MARKER = re.compile(r"\[\[fault:([a-z0-9_]+)(?:\*(\d+))?\]\]")


@dataclass(frozen=True)
class Options:
    """How the endpoint behaves.

    Raises:
        ValueError: a fault that is none, or rates that sum to more than 1.
    """

    models: Sequence[str] = ("model",)  # the names it knows; empty: any
    rates: Mapping[str, float] = field(default_factory=dict)  # kind of fault -> share of attempts
    seed: int = 0  # of the faults
    delay: float = 0.0  # milliseconds before an answer
    retry_after: float = 1.0  # seconds that a 429 asks for
    max_prompt_chars: int | None = None
    key: str | None = None  # the only one that is let in
    die_after: int | None = None  # requests that are taken; the next one ends the process
    requests: Path | None = None  # a line for every request
    nonsense_every: int = 0  # as a judge: every so many prompts get no verdict; 0: none do
    served_model: str | None = None  # the name that replies report; None: the one asked for

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.rates) - set(faults.KINDS)):
            raise ValueError(f"no such fault: {unknown[0]!r}, expected {', '.join(faults.KINDS)}")
        if sum(self.rates.values()) > 1 or min(self.rates.values(), default=0) < 0:
            raise ValueError("the rates of the faults are shares of the requests: at most 1 in all")


class FaultyEndpoint:
    """The endpoint; `await start()` inside an event loop, or `serve()` for a process of its own."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.kinds: Counter[str] = Counter()  # faults that were served
        self.asked = self.in_flight = self.most_in_flight = 0
        self.early = 0  # requests that came before a Retry-After was over
        self._free_at = float("-inf")
        self._attempts: Counter[bytes] = Counter()
        self.last: dict[str, Any] = {}  # body and headers of the last request
        self._log: TextIO | None = None
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0, host: str = LOCAL) -> str:
        """Listen on a port (0: any) of an address, and return the URL for clients."""
        if self.options.requests is not None:
            self._log = self.options.requests.open("a", buffering=1, encoding="utf-8")
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/stats", self._stats)
        app.router.add_get("/last", self._show_last)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        at, found = self._runner.addresses[0][:2]
        return f"http://{at}:{found}/v1"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._log is not None:
            self._log.close()

    def stats(self) -> dict[str, Any]:
        """Return the counts since the start."""
        return {
            "requests": self.asked,
            "faults": dict(self.kinds),
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "early": self.early,
        }

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.options.die_after is not None and self.asked > self.options.die_after:
            os._exit(1)  # as a killed server does: no goodbye to anyone
        self.early += time.monotonic() < self._free_at
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._reply(request)
        finally:
            self.in_flight -= 1

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        prompt = prompt_of(body)
        name = hashlib.sha256(orjson.dumps([body.get("model"), prompt, body.get("seed")])).digest()
        self._note(request, body, prompt)
        self._attempts[name] += 1
        if self.options.delay:
            await asyncio.sleep(self.options.delay / 1000)
        kind = self._refusal(request, body, prompt) or self._fault(
            name, self._attempts[name], prompt
        )
        text = verdict_text(body, self.options.nonsense_every) or answer_text(body)
        reply = completion(body, text)
        reply["model"] = self.options.served_model or reply["model"]
        if kind is None:
            return faults.reply(reply)
        self.kinds[kind] += 1
        if kind == "429":
            self._free_at = time.monotonic() + self.options.retry_after
        return await faults.serve(kind, request, reply, self.options)

    def _note(self, request: web.Request, body: dict[str, Any], prompt: str) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.last = {"body": body, "headers": headers}
        if self._log is not None:
            digest = hashlib.sha256(prompt.encode()).hexdigest()
            line = {"model": body.get("model"), "prompt": digest, "seed": body.get("seed")}
            self._log.write(orjson.dumps(line).decode() + "\n")

    def _refusal(self, request: web.Request, body: dict[str, Any], prompt: str) -> str | None:
        options = self.options
        if not self._lets_in(request):
            return "401"
        if options.models and body.get("model") not in options.models:
            return "404"
        longest = options.max_prompt_chars
        return "too_long" if longest is not None and len(prompt) > longest else None

    def _fault(self, name: bytes, attempt: int, prompt: str) -> str | None:
        if marker := _MARKER.search(prompt):
            kind, times = marker[1], marker[2]
            if kind not in faults.KINDS:
                raise web.HTTPBadRequest(text=f"no fault {kind}: {', '.join(faults.KINDS)}")
            return kind if times is None or attempt <= int(times) else None
        if not self.options.rates:
            return None
        drawn = hashlib.sha256(b"%d %d " % (self.options.seed, attempt) + name).digest()
        left = int.from_bytes(drawn[:8], "big") / 2**64
        for kind, rate in self.options.rates.items():
            left -= rate
            if left < 0:
                return kind
        return None

    def _lets_in(self, request: web.Request) -> bool:
        key = self.options.key
        return key is None or request.headers.get("Authorization") == f"Bearer {key}"

    async def _models(self, request: web.Request) -> web.StreamResponse:
        if not self._lets_in(request):
            return await faults.serve("401", request, {}, self.options)
        listed = [{"id": name, "object": "model"} for name in self.options.models]
        return faults.reply({"object": "list", "data": listed})

    async def _health(self, _: web.Request) -> web.Response:
        return faults.reply({"status": "ok"})

    async def _stats(self, _: web.Request) -> web.Response:
        return faults.reply(self.stats())

    async def _show_last(self, _: web.Request) -> web.Response:
        return faults.reply(self.last)


async def serve(options: Options, port: int = 0) -> None:
    """Serve until cancelled; the first line on stdout is the URL."""
    endpoint = FaultyEndpoint(options)
    print(await endpoint.start(port), flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await endpoint.stop()


def read_options(args: Sequence[str]) -> tuple[Options, int]:
    """Read the command line: the options and the port."""
    parser = argparse.ArgumentParser(prog="faulty_endpoint", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--model", action="append", help="a name it knows; any if not given")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND=RATE", help=", ".join(faults.KINDS)
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds before an answer")
    parser.add_argument("--retry-after", type=float, default=1.0, help="seconds, of a 429")
    parser.add_argument("--max-prompt-chars", type=int)
    parser.add_argument("--require-key", metavar="KEY")
    parser.add_argument("--die-after", type=int, metavar="N", help="requests")
    parser.add_argument("--nonsense-every", type=int, default=0, metavar="N", help="as a judge")
    parser.add_argument("--served-model", metavar="NAME", help="the name that replies report")
    parser.add_argument("--requests", type=Path, metavar="FILE", help="a line for every request")
    given = parser.parse_args(args)
    try:
        pairs = [fault.partition("=")[::2] for fault in given.fault]
        options = Options(
            models=tuple(given.model or ()), rates={kind: float(rate) for kind, rate in pairs},
            seed=given.seed, delay=given.delay, retry_after=given.retry_after,
            max_prompt_chars=given.max_prompt_chars, key=given.require_key,
            die_after=given.die_after, requests=given.requests,
            nonsense_every=given.nonsense_every, served_model=given.served_model,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    return options, given.port


if __name__ == "__main__":
    try:
        asyncio.run(serve(*read_options(sys.argv[1:])))
    except KeyboardInterrupt:
        sys.exit(130)
