"""Whose cells a folder holds: `identity.json`, what the folder's name was made of."""

import json

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.identity import Spec, canonical


def encode(spec: Spec) -> bytes:
    """Return the bytes of the identity.json of a spec's cells."""
    told = {"stage": spec.stage, "version": spec.version, "identity": dict(spec.identity)}
    return canonical(told) + b"\n"


def decode(folder: str, data: bytes) -> Spec:
    """Read the identity.json of a folder of cells.

    Raises:
        DamagedArtifact: not the bytes that `encode` wrote, or those of other cells.
    """
    try:
        told = json.loads(data)
        found = Spec(told["stage"], told["version"], told["identity"])
        name, is_as_written = found.folder, canonical(told) + b"\n" == data
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedArtifact("is unreadable") from None
    if not is_as_written:
        raise DamagedArtifact("has other bytes than a store writes")
    if name != folder:
        raise DamagedArtifact(f"does not fit the folder's name (fits {name})")
    return found
