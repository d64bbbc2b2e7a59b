"""JSON objects that carry a checksum of themselves: records of selections, and their pointers."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.identity import canonical


def dumps_checksummed(body: Mapping[str, Any]) -> bytes:
    """Return a JSON object's canonical bytes, with a checksum of itself."""
    checksum = sha256(canonical(dict(body))).hexdigest()
    text = json.dumps({**body, "sha256": checksum}, indent=1, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def loads_checksummed(data: bytes) -> dict[str, Any]:
    """Return the JSON object that `dumps_checksummed` wrote.

    Raises:
        DamagedArtifact: any byte of it is another.
    """
    try:
        body = json.loads(data)
        body.pop("sha256")
        same = dumps_checksummed(body) == data
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise DamagedArtifact(f"is unreadable ({type(e).__name__})") from None
    if not same:
        raise DamagedArtifact("does not fit its own checksum")
    return dict(body)
