"""What an artifact is: the key that its content follows from, and how two of them differ."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any


@dataclass(frozen=True)
class Spec:
    """What is to be computed, named by everything that changes the content and nothing else.

    Args:
        stage: a short name of ours; it is a folder of the store.
        version: raised by hand when the stage's code computes something else from the same input.
        identity: JSON values; models, revisions, prompts, seeds, but no path, device or batch size.
        inputs: the keys of the artifacts it is computed from, by their role.
    """

    stage: str
    version: int
    identity: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """sha256 of the canonical JSON of (stage, version, identity, inputs), in hex."""
        parts = [self.stage, self.version, dict(self.identity), dict(self.inputs)]
        return sha256(canonical(parts)).hexdigest()

    @property
    def folder(self) -> str:
        """The artifact's folder in the store."""
        return f"{self.stage}/{self.key}"


def canonical(value: Any) -> bytes:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN, UTF-8."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8", "surrogatepass")


def differences(one: Mapping[str, Any], other: Mapping[str, Any], at: str = "") -> list[str]:
    """Name the fields that separate two identities, as 'field: one -> other'."""
    found: list[str] = []
    for name in sorted(set(one) | set(other)):
        a, b = one.get(name), other.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{at}{name}.")
        elif a != b:
            found.append(f"{at}{name}: {short(a)} -> {short(b)}")
    return found


def fields(told: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return the fields of an identity, those of nested ones as 'outer.inner'."""
    found: dict[str, Any] = {}
    for name, value in told.items():
        if isinstance(value, Mapping):
            found |= fields(value, f"{at}{name}.")
        else:
            found[f"{at}{name}"] = value
    return found


def short(value: Any) -> str:
    """Return a value as a line may show it: a key by its first digits, a long text cut."""
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:8]
    text = canonical(value).decode("utf-8", "replace")
    return text if len(text) <= 60 else text[:57] + "..."
