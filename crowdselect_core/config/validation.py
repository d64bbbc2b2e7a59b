"""What pydantic says of a wrong config, in the words of a user."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from crowdselect_core.config.base import CREDENTIALS
from crowdselect_core.errors import nearest, shown
from crowdselect_core.urls import shown_path

# What pydantic puts into a location for the branch of a union, beside the keys of the user.
_BRANCH = re.compile(
    r"(list|dict|tuple|literal|constrained|function|lax|nullable|tagged)\b.*|str|int|float|bool"
    r"|openai|vllm|transformers|classifier|likelihood|judge"
)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Turn pydantic's first complaint into one line: where, what was found, what to do.

    An unknown key comes first, since a key that is missing often follows from its misspelling.
    """
    by_place: dict[str, list[Mapping[str, Any]]] = {}
    for one in sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden"):
        by_place.setdefault(_place(one["loc"]), []).append(one)
    # A union complains about its other branches too, at the key that holds the value.
    places = [p for p in by_place if not any(q.startswith(f"{p}.") for q in by_place)]
    where = places[0]
    complaints = by_place[where]
    first = complaints[0]
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        known = _fields_at(model, first["loc"][:-1])
        return f"unknown key {where!r}{nearest(key, known)} (known: {shown(known)}){more}"
    if first["type"] == "missing":
        return f"key {where!r} is missing{more}"
    message = " or ".join(dict.fromkeys(c["msg"].removeprefix("Value error, ") for c in complaints))
    message = message.replace(" or Input should be ", " or ")
    message = message.replace("valid dictionary or object to extract fields from", "mapping")
    return f"{where}: {message}{_found(first)}{more}" if where else f"{message}{more}"


def _place(location: tuple[int | str, ...]) -> str:
    """Return the dotted keys of a location, without pydantic's names of union branches."""
    return ".".join(str(p) for p in location if isinstance(p, int) or not _BRANCH.fullmatch(p))


def _found(complaint: Mapping[str, Any]) -> str:
    """Say what stood there and, for one of a few words, which is the nearest."""
    found = complaint.get("input")
    secret = complaint["type"] == CREDENTIALS or "storage_options" in complaint["loc"]
    if secret or not isinstance(found, str | int | float | None):
        return ""
    found = shown_path(found) if isinstance(found, str) else found
    words = re.findall(r"'([^']*)'", complaint.get("ctx", {}).get("expected", ""))
    close = nearest(found, words) if isinstance(found, str) else ""
    return f", found {found!r}"[:120] + close


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the (nested) model that `location` points into."""
    kinds: list[type[BaseModel]] = []  # of a union that a tag is to choose from
    for part in location:
        if isinstance(part, int):
            continue
        if tagged := [k for k in kinds if _tag(k) == part]:
            model, kinds = tagged[0], []
        elif part in model.model_fields and (
            found := _models_in(model.model_fields[part].annotation)
        ):
            model, kinds = found[-1], found
    return sorted(model.model_fields)


def _tag(model: type[BaseModel]) -> str | None:
    """Return the word by which a union knows one of its models."""
    kind = model.model_fields.get("kind")
    words: tuple[Any, ...] = getattr(kind.annotation, "__args__", ()) if kind else ()
    return str(words[0]) if len(words) == 1 else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]
