"""HTTP sessions to model servers: proxies of the environment, kept connections, no cookies."""

import logging
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDict

from crowdselect_core.util.versions import version_of

log = logging.getLogger("crowdselect")

CONNECT = 30.0  # seconds until a connection stands
IDLE = 4.0  # seconds that a connection is kept idle; uvicorn closes it after 5


def are_local(urls: Sequence[str]) -> bool:
    """Tell whether all URLs are of this machine."""
    return all(urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1") for url in urls)


def below(url: str, path: str) -> str:
    """Return the URL of a path below another; a query stays at its end (Azure's api-version)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for a URL (HTTP(S)_PROXY, ALL_PROXY, NO_PROXY).

    None stands before a server of this machine.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or are_local([url]) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in ("http", "https"):
        log.warning("a %s proxy is not supported and not used", urlsplit(proxy).scheme)
        return None
    return proxy


def bearer(key: str | None) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def open_session(
    url: str, headers: Mapping[str, str], *, width: int, seconds: float | None = None
) -> aiohttp.ClientSession:
    """Open a session to one server; its connections are used again.

    aiohttp's `trust_env` is not used: with it an entry for the host in ~/.netrc makes every request
    that carries a key fail.

    Args:
        url: the server's; credentials in it go before a key in `headers`.
        headers: sent with every request.
        width: most connections.
        seconds: for a whole request; None where the caller bounds it.
    """
    sent = CIMultiDict({"User-Agent": f"crowdselect/{version_of('crowdselect')}"})
    for name, value in headers.items():  # whatever the case of a name, the later one counts
        sent[name] = value
    if urlsplit(url).username:
        sent.pop("Authorization", None)
    connect = CONNECT if seconds is None else min(CONNECT, seconds)
    return aiohttp.ClientSession(
        headers=sent,
        connector=aiohttp.TCPConnector(limit=width, keepalive_timeout=IDLE),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy_for(url),
        timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=connect),
    )
