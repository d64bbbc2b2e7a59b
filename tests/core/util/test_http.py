"""Sessions to model servers: proxies of the environment, keys, URLs with a query or credentials."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from crowdselect_core.util.http import bearer, below, open_session, proxy_for

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://gpu1:8000/v1", "http://gpu1:8000/v1/models"),
        ("http://gpu1/v1/", "http://gpu1/v1/models"),
        ("https://a.example", "https://a.example/models"),
        ("https://a/openai/?api-version=1", "https://a/openai/models?api-version=1"),
    ],
)
def test_a_path_goes_before_the_query(url: str, expected: str) -> None:
    assert below(url, "models") == expected


def test_the_proxy_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    far, local = "https://far.example:8443/v1", "http://127.0.0.1:8000/v1"
    assert proxy_for(far) is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("http_proxy", "http://other:3128")
    assert proxy_for(far) == "http://proxy:3128"
    assert proxy_for("http://far.example/v1") == "http://other:3128"
    assert proxy_for(local) is None
    monkeypatch.setenv("no_proxy", "far.example")
    assert proxy_for(far) is None
    monkeypatch.setenv("no_proxy", "far.example:8443")
    assert proxy_for(far) is None
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("all_proxy", "proxy:3128")
    assert proxy_for(far) == "http://proxy:3128"
    monkeypatch.setenv("all_proxy", "socks5://proxy:1080")
    assert proxy_for(far) is None


async def _echoed(headers: dict[str, str], user: str = "") -> dict[str, str]:
    """Return the headers that a server sees."""

    async def echo(request: web.Request) -> web.Response:
        return web.json_response({k.lower(): v for k, v in request.headers.items()})

    app = web.Application()
    app.router.add_post("/v1/x", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://{user}127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with (
            open_session(url, headers, width=1) as session,
            session.post(below(url, "x"), data=b"{}") as reply,
        ):
            seen: dict[str, Any] = await reply.json()
            return seen
    finally:
        await runner.cleanup()


def test_a_key_is_sent_whatever_netrc_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    seen = asyncio.run(_echoed({"Content-Type": "application/json", **bearer("sk-1")}))
    assert seen["authorization"] == "Bearer sk-1"
    assert seen["user-agent"].startswith("crowdselect/")
    assert "authorization" not in asyncio.run(_echoed(bearer(None)))


def test_credentials_in_a_url_go_before_a_key() -> None:
    seen = asyncio.run(_echoed(bearer("sk-1"), user="me:secret@"))
    assert seen["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


def test_of_two_headers_in_another_case_the_later_counts() -> None:
    seen = asyncio.run(_echoed({"Content-Type": "a/b", "content-type": "c/d"}))
    assert seen["content-type"] == "c/d"
