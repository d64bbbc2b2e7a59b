"""The versions of packages, as manifests and runs tell them."""

from importlib.metadata import PackageNotFoundError, version


def version_of(name: str) -> str:
    """Return the version of an installed package, 'unknown' of a checkout that is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
