"""Choose the storage backend by the address of a store."""

from crowdselect_core.store.backend.base import StorageBackend
from crowdselect_core.urls import checked_url, expanded, is_url


def open_backend(path: str) -> StorageBackend:
    """Open a local folder or a URL as a place; nothing is read, written or connected yet."""
    if not is_url(path):
        from crowdselect_core.store.backend.local import LocalBackend

        return LocalBackend(expanded(path))
    from crowdselect_core.store.backend.remote import RemoteBackend

    return RemoteBackend(checked_url(path))
