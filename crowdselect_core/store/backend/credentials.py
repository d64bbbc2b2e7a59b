"""Credentials of s3:// places that are renewed from their source while a run goes on.

boto reads static credentials (environment, shared credentials file) once and keeps them for as long
as the process lives. A run of two days outlives a session token, and somebody may rotate the keys.
Here a session signs each request with what its sources hold now:

- The environment and the shared files are looked at before each signature (a stat each); where
  they changed, the credentials are resolved anew, by boto's own order of sources.
- Where the server refuses a request, every source is asked again, also one that cannot be watched
  (a Secret block, `set_source`). If it holds others than those refused, the request is signed and
  sent again. If not, the refusal is the answer, at once: wrong credentials are not tried again.

What boto renews by itself (roles, SSO, instance metadata, credential_process) it renews here, too.
No message names a credential.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import cache
from pathlib import Path
from typing import Any

log = logging.getLogger("crowdselect.store")

MOST = 5  # times that one request is signed anew
SETTLES = 15.0  # seconds in which a server may not know new credentials yet (IAM is not instant)
# In a request's context: by which credentials and when it was signed, and how often anew.
_USED, _SIGNED, _RENEWED = (f"crowdselect_{name}" for name in ("credentials", "signed", "renewals"))

# The server does not know who asks; with other credentials it may. (HEAD tells a status only.)
UNKNOWN = frozenset(
    {
        "400",
        "401",
        "403",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
# It may as well be that who asks has no right.
REFUSED = UNKNOWN | {"AccessDenied", "AuthorizationHeaderMalformed"}

_WATCHED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
    ("AWS_CONFIG_FILE", "~/.aws/config"),
)

_source: Callable[[], None] | None = None


def set_source(load: Callable[[], None] | None) -> None:
    """Name what puts credentials into the environment; it is called again when they are refused.

    Args:
        load: runs in a thread, in the context of this call; None for an environment that nobody
            fills.
    """
    global _source
    if load is None:
        _source = None
        return
    context = copy_context()
    _source = lambda: context.copy().run(load)  # noqa: E731


def session_of(profile: str | None) -> Any:
    """Return the aiobotocore session of a profile (None: the environment's), the same each time."""
    names = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    return _session(profile, os.getpid(), tuple(os.environ.get(name) for name in names))


@cache
def _session(profile: str | None, process: int, where: tuple[str | None, ...]) -> Any:
    from aiobotocore.session import AioSession

    session = AioSession(profile=profile)
    held = RenewedCredentials(profile)
    session.register_component("credential_provider", held)
    session.register("before-sign.s3", held.note)
    # First, for boto's own handlers may have an opinion on a status.
    session.get_component("event_emitter").register_first("needs-retry.s3", held.renew)
    return session


class RenewedCredentials:
    """The credentials of a session, as their source holds them: boto's provider and credentials.

    It lives in the event loop of fsspec, so only `await` lets another request in between.
    """

    method = "renewed"

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._lock = asyncio.Lock()
        self._held: Any = None  # of boto; None where no source has any
        self._state: tuple[Any, ...] | None = None  # of the sources when they were read
        self._generation = 0  # how many others have come since
        self._accepted = 0  # the latest of which a server took a request
        self._came, self._looked = 0.0, 0.0  # when others came, and when a refusal made us look

    async def load_credentials(self) -> "RenewedCredentials":
        """Return these credentials, as boto asks a chain of providers."""
        return self

    async def get_account_id(self) -> str | None:
        """Return the account, as boto asks for it where an address has it."""
        account: str | None = getattr(await self.get_frozen_credentials(), "account_id", None)
        return account

    def get_deferred_property(self, name: str) -> Callable[[], Awaitable[Any]]:
        """Return what gives a property of the credentials (the account) where boto needs it."""

        async def get() -> Any:
            return getattr(await self.get_frozen_credentials(), name, None)

        return get

    async def get_frozen_credentials(self) -> Any:
        """Return what a request is signed with; None where no source has any."""
        async with self._lock:
            if self._state is None:
                self._held, self._state = await self._resolve()
            elif self._state != _state():
                await self._replace()
            try:
                return await _frozen(self._held)
            except Exception:
                # boto renews a role by the credentials that it was given first: read those again.
                if not await self._replace():
                    raise
                return await _frozen(self._held)

    async def note(self, request: Any, signature_version: Any = None, **_: Any) -> None:
        """Before a signature: note in the request which credentials it is signed with, and when."""
        from botocore import UNSIGNED

        if signature_version is not UNSIGNED:
            await self.get_frozen_credentials()  # boto asks after this: others come now
        request.context[_USED] = self._generation
        request.context[_SIGNED] = time.monotonic()

    async def renew(self, response: Any, request_dict: dict[str, Any], **_: Any) -> float | None:
        """After an answer: return the seconds until it is signed anew, None to leave it."""
        context = request_dict["context"]
        if response is None:
            return None
        if response[0].status_code < 400:
            self._accepted = max(self._accepted, context.get(_USED, 0))
        code = str(response[1].get("Error", {}).get("Code", ""))
        if code not in REFUSED:
            return None
        context[_RENEWED] = times = context.get(_RENEWED, 0) + 1
        if times > MOST:
            return None
        async with self._lock:
            if context.get(_USED) != self._generation:
                return 0.0  # others came meanwhile
            if await self._look(context.get(_SIGNED, 0.0)):
                how = getattr(self._held, "method", "unknown")
                log.warning(
                    "s3: the server refused the credentials (%s); going on with new ones from "
                    "their source (%s)",
                    code,
                    how,
                )
                return 0.0
            new = self._accepted < self._generation
            settles = new and time.monotonic() - self._came < SETTLES
            return min(2.0 ** (times - 1), 4.0) if settles and code in UNKNOWN else None

    async def _look(self, signed: float) -> bool:
        """Read every source again; tell whether they hold others than those that were refused.

        Of many requests that are refused together one does: its look came after they were signed.
        """
        if self._state == _state() and signed <= self._looked:
            return False
        self._looked = time.monotonic()
        if _source is not None:
            try:
                await asyncio.to_thread(_source)
            except Exception as e:
                log.warning("s3: refused credentials were not read again: %s", _named(e))
        return await self._replace()

    async def _replace(self) -> bool:
        """Resolve the credentials anew; tell whether they are others than those held."""
        try:
            found, state = await self._resolve()
            new = await _frozen(found)
        except Exception as e:  # a file that is being written; the next look may find it whole
            log.warning("s3: the source of the credentials could not be read: %s", _named(e))
            self._state = _state()
            return False
        self._state = state
        if new is None:  # the old ones may still be good
            return False
        try:
            old = await _frozen(self._held)
        except Exception as e:
            log.debug("s3: credentials could not be renewed (%s)", type(e).__name__)
            old = None
        if old == new:
            return False
        self._held, self._came = found, time.monotonic()
        self._generation += 1
        return True

    async def _resolve(self) -> tuple[Any, tuple[Any, ...]]:
        """Return what boto finds now, which may be nothing, and the state of the sources before."""
        from aiobotocore.session import AioSession

        state = _state()
        return await AioSession(profile=self._profile).get_credentials(), state


async def _frozen(credentials: Any) -> Any:
    return None if credentials is None else await credentials.get_frozen_credentials()


def _state() -> tuple[Any, ...]:
    """Return what changes where the environment or a shared file does; a hash, not a credential."""
    seen: list[Any] = [hash(tuple(os.environ.get(name) for name in _WATCHED))]
    for variable, usual in _FILES:
        try:
            found = Path(os.environ.get(variable) or usual).expanduser().stat()
        except OSError:
            seen.append(None)
        else:
            seen.append((found.st_mtime_ns, found.st_size, found.st_ino))
    return tuple(seen)


def _named(error: Exception) -> str:
    """Return the kind of an error: its words may quote a file, and that holds credentials."""
    return type(error).__name__
