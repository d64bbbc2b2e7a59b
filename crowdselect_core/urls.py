"""Addresses of files and buckets, and what of them may be shown."""

import re
from pathlib import Path

from crowdselect_core.errors import ConfigError

_CHAIN = re.compile(r"::(?=[\w+.-]+::|[\w+.-]+://)")  # between the parts of a chained URL

# A query's parameter whose name says that it is secret; a glob's ? starts none.
_SECRET_QUERY = re.compile(
    r"([?&][^=&]*(?:sig|key|token|credential|secret|password)[^=&]*=)[^&]*", re.IGNORECASE
)

_SECRET_TEXT = re.compile(
    r"(account|access|secret|shared)_?-?(key|signature)\s*=|password\s*=|pwd\s*=|PRIVATE KEY"
    r"|^\s*(bearer|basic)\s|[^\s/:@]+:[^\s@]+@",
    re.IGNORECASE,
)

_AZURE = ("abfs", "abfss", "adl", "az", "wasb", "wasbs")  # scheme://container@account/path

_WITH_PORT = ("http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs")


def is_url(path: str) -> bool:
    """Tell an fsspec URL (s3://bucket/prefix) from a local path."""
    return "://" in path


def expanded(path: str) -> str:
    """Return a path with a home folder in the place of its ~ or ~user.

    Raises:
        ConfigError: there is no such user.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ConfigError(f"{path!r}: there is no such user, whose home folder it names") from None


def checked_url(url: str) -> str:
    """Return `url` unless it carries credentials, in any part of a chain (simplecache::s3://...).

    Raises:
        ConfigError: user:password@ in the URL, or a signature or token in its query; the message
            repeats neither.
    """
    for part in _CHAIN.split(url):
        scheme, _, rest = part.partition("://")
        if _userinfo(scheme, rest) or _SECRET_QUERY.search(rest):
            raise ConfigError(
                f"a {scheme}:// URL carries credentials: take them out of the URL and set them in "
                "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)"
            )
    return url


def shown_path(path: str) -> str:
    """Return `path` as a message may repeat it: *** stands for the credentials of a URL."""
    return "::".join(_masked(part) for part in _CHAIN.split(path))


def is_secret(text: str) -> bool:
    """Tell a value that holds credentials: user:password@, a connection string, a header."""
    try:
        checked_url(text)
    except ConfigError:
        return True
    return _SECRET_TEXT.search(text) is not None


def _userinfo(scheme: str, rest: str) -> str:
    """Return what stands before the @ of a URL's host, '' where that is no credential."""
    first = rest.split("/", 1)[0]
    port = scheme.lower() in _WITH_PORT and re.fullmatch(r"[^@]*:\d*", first)
    # A password may hold a slash, so that its @ is found behind what looks like the host.
    user, found, _ = (rest if ":" in first and not port else first).rpartition("@")
    container = scheme.lower() in _AZURE and ":" not in user
    return user if found and not container else ""


def _masked(part: str) -> str:
    scheme, found, rest = part.partition("://")
    if user := _userinfo(scheme, rest) if found else "":
        rest = f"***{rest.removeprefix(user)}"
    return scheme + found + _SECRET_QUERY.sub(r"\1***", rest)
