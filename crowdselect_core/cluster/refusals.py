"""What a worker refuses to compute: its node has not what the run's process has."""

from collections.abc import Mapping

from crowdselect_core.errors import ConfigError, DamagedArtifact, StorageError
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

SHARED = (
    "with executor ray the store is a bucket, or a folder that every node mounts at the same path"
)
UNSEEN = f"{{root}}: this node does not see what the run writes there; {SHARED}"
OTHER = (
    "this node's {what} another one than the run's: use URLs, hub ids with a revision, or a folder "
    "that every node mounts"
)


def check_versions(wanted: Mapping[str, str], here: Mapping[str, str]) -> None:
    """Refuse other versions of the libraries that a result follows from."""
    other = [f"{n} {here.get(n)}, not {v}" for n, v in wanted.items() if here.get(n) != v]
    if other:
        raise ConfigError(
            f"this node has {'; '.join(other)}: install on every node what the run's process has, "
            "or the result depends on where a part is computed"
        )


def check_seen(store: Store, ref: Ref) -> None:
    """Refuse a store that is not the run's: it has not what the run wrote."""
    try:
        ref.open(store)
    except DamagedArtifact:
        raise StorageError(UNSEEN.format(root=store.place.root)) from None


def no_secret(block: str) -> str:
    """Refuse to read a Secret block: Prefect is not asked from here."""
    raise ConfigError(f"Secret block {block!r}: a worker has no keys but those of its environment")
