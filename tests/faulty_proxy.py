"""A proxy before an S3 server that fails as servers and networks do, for the tests.

`python faulty_proxy.py TARGET [--port 0] [--rate KIND=SHARE ...] [--delay SECONDS] [--seed 0]
[--log FILE]` prints its URL and hands requests on as they are, the Host header with them, which the
signature covers. A share of them, drawn by a hash of seed and number, fails:

500, 503, slowdown: refused with that answer, nothing is handed on;
delay: handed on after some seconds;
cut_request: half of the body reaches the server, then both connections break (of one that has
    none, the next one that has);
cut_answer: half of the server's answer reaches the client, then the connection breaks;
lost: the server does as it is told, and the connection breaks before its answer comes.
"""

import argparse
import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

LOCAL = "127.0.0.1"
KINDS = ("500", "503", "slowdown", "delay", "cut_request", "cut_answer", "lost")
_CODES = {"500": (500, "InternalError"), "503": (503, "ServiceUnavailable"),
          "slowdown": (503, "SlowDown")}  # fmt: skip
_HOPS = {"connection", "keep-alive", "transfer-encoding"}  # between two neighbours only


class Cut(Exception):
    """The body ends here."""


@dataclass
class Proxy:
    """The proxy; `rates` are shares of the requests by kind."""

    target: str
    rates: Mapping[str, float]
    delay: float = 30.0
    seed: int = 0
    log: Path | None = None
    _number: int = field(default=0, init=False)
    _uncut: int = field(default=0, init=False)  # requests that are still to be cut
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def start(self, port: int) -> str:
        """Listen on loopback; return the URL."""
        # What the server says goes on as it is, compressed or not, and a dead server is told.
        self._session = aiohttp.ClientSession(auto_decompress=False, trust_env=False)
        app = web.Application(client_max_size=1 << 32)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, LOCAL, port).start()
        return f"http://{LOCAL}:{runner.addresses[0][1]}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Hand a request on, or let it fail."""
        self._number += 1
        body = await request.read()
        kind = self._cut_later(self._drawn(self._number), body)
        if kind is not None and self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{kind} {request.method} {request.path}\n")
        if kind in _CODES:
            return _refused(*_CODES[kind])
        if kind == "delay":
            await asyncio.sleep(self.delay)
        try:
            status, headers, answer = await self._handed_on(
                request, body, cut=kind == "cut_request"
            )
        except (aiohttp.ClientError, Cut, OSError):
            return _broken(request)  # cut, or the server is down
        if kind == "lost":
            return _broken(request)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        await response.write(answer[: len(answer) // 2] if kind == "cut_answer" else answer)
        if kind == "cut_answer":
            return _broken(request, response)
        await response.write_eof()
        return response

    async def _handed_on(
        self, request: web.Request, body: bytes, *, cut: bool
    ) -> tuple[int, dict[str, str], bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]
            await asyncio.sleep(0.05)
            raise Cut

        headers = {n: v for n, v in request.headers.items() if n.lower() not in _HOPS}
        if body or request.method in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        assert self._session is not None
        async with self._session.request(
            request.method, self.target + request.raw_path, headers=headers,
            data=pieces() if cut else body or None, allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept", "Content-Type"),
        ) as reply:  # fmt: skip
            answer = await reply.read()
            told = {n: v for n, v in reply.headers.items() if n.lower() not in _HOPS}
            if request.method != "HEAD":
                told["Content-Length"] = str(len(answer))
            return reply.status, told, answer

    def _cut_later(self, kind: str | None, body: bytes) -> str | None:
        """Let the next request that has a body be cut in the place of one that has none."""
        if kind == "cut_request":
            self._uncut += 1
            kind = None
        if kind is None and self._uncut and len(body) > 1:
            self._uncut -= 1
            return "cut_request"
        return kind

    def _drawn(self, number: int) -> str | None:
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).digest()
        left = int.from_bytes(digest[:8], "big") / 2**64
        for kind, rate in self.rates.items():
            left -= rate
            if left < 0:
                return kind
        return None


def _refused(status: int, code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>Reduce your request rate</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


def _broken(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()  # sends what was written, and then no more
    return response or web.Response(status=502)


async def serve(proxy: Proxy, port: int) -> None:
    """Serve until cancelled; the first line on stdout is the URL."""
    print(await proxy.start(port), flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", help="URL of the S3 server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rate", action="append", default=[], metavar="KIND=SHARE")
    parser.add_argument("--delay", type=float, default=30.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="a line for every fault")
    args = parser.parse_args()
    rates = {kind: float(share) for kind, _, share in (r.partition("=") for r in args.rate)}
    if unknown := sorted(rates.keys() - set(KINDS)):
        parser.error(f"no such fault: {unknown[0]!r}, expected {', '.join(KINDS)}")
    asyncio.run(serve(Proxy(args.target, rates, args.delay, args.seed, args.log), args.port))


if __name__ == "__main__":
    main()
