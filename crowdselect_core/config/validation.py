"""What pydantic says of a wrong config, in the words of a user."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from crowdselect_core.config.base import CREDENTIALS, configs_in, kind_of
from crowdselect_core.errors import ConfigError, UserError, nearest, shown
from crowdselect_core.urls import shown_path

Checked = TypeVar("Checked", bound=BaseModel)

MOST = 5  # complaints that are told

# What pydantic puts into a location for the branch of a union, beside the keys of the user.
_BRANCH = re.compile(
    r"(list|dict|tuple|literal|constrained|function|lax|nullable|tagged)\b.*|str|int|float|bool"
)


def checked(
    model: type[Checked], values: Any, where: str = "", error: type[UserError] = ConfigError
) -> Checked:
    """Return the config that the values make.

    Args:
        model: the config.
        values: its keys.
        where: what holds the values, for the message.
        error: what to raise.

    Raises:
        UserError: a key or a value that cannot be, in one line.
    """
    try:
        return model.model_validate(values)
    except ValidationError as e:
        why = explain(e, model, values)
        raise error(f"{where}: {why}" if where else why) from None


def explain(error: ValidationError, model: type[BaseModel], values: Any = None) -> str:
    """Turn pydantic's complaints into one line: where, what was found, what to do.

    Unknown keys come first, since a key that is missing often follows from its misspelling. At
    most MOST are told, the others counted.

    Args:
        error: of pydantic.
        model: that was to be made.
        values: of which; entries of a list are told by their names in it.
    """
    by_place: dict[str, list[Mapping[str, Any]]] = {}
    for one in sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden"):
        place = ".".join(_keys(one["loc"], model)[0])
        by_place.setdefault(place, []).append(one)
    # A union complains about its other branches too, at the key that holds the value.
    places = [p for p in by_place if not any(q.startswith(f"{p}.") for q in by_place)]
    told, listed = [], set[str]()
    for place in places[:MOST]:
        complaint, known = _complaint(place, by_place[place], model, values)
        told.append(complaint if known in listed else complaint + known)
        listed.add(known)
    more = f" (and {len(places) - MOST} more)" if len(places) > MOST else ""
    return "; ".join(told) + more


def _complaint(
    place: str, complaints: list[Mapping[str, Any]], model: type[BaseModel], values: Any
) -> tuple[str, str]:
    """Say what is wrong at one place, and which keys are known there: a list that is told once."""
    first, where = complaints[0], f"{place!r}{_named(place, values)}"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        kinds = _keys(first["loc"][:-1], model)[1]
        known = sorted({name for kind in kinds for name in kind.model_fields})
        return f"unknown key {where}{nearest(key, known)}", f" (known: {shown(known)})"
    if first["type"] == "missing":
        return f"key {where} is missing", ""
    message = " or ".join(dict.fromkeys(c["msg"].removeprefix("Value error, ") for c in complaints))
    message = message.replace(" or Input should be ", " or ")
    message = message.replace("valid dictionary or object to extract fields from", "mapping")
    said = f"{place}{_named(place, values)}: {message}{_found(first)}" if place else message
    return said, ""


def _named(place: str, values: Any) -> str:
    """Return ' (NAME)' for a place within a list whose entry has a name, '' for any other."""
    name = None
    for part in place.split("."):
        if isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
            name = values.get("name") if isinstance(values, dict) else None
        else:
            values = values.get(part) if isinstance(values, dict) else None
    return f" ({shown([name])})" if isinstance(name, str) and name else ""


def _keys(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[list[str], list[type[BaseModel]]]:
    """Return the user's keys of a location, and the configs that the last of them may hold.

    Pydantic puts names of union branches between the keys; these are left out.
    """
    keys: list[str] = []
    kinds = [model]
    for part in location:
        if isinstance(part, int):
            keys.append(str(part))
        elif fields := [k.model_fields[part] for k in kinds if part in k.model_fields]:
            keys.append(part)
            kinds = [inner for field in fields for inner in configs_in(field.annotation)]
        elif branch := [k for k in kinds if part in (kind_of(k), k.__name__)]:
            kinds = branch
        elif not _BRANCH.fullmatch(part):  # a key of a mapping, or an unknown one
            keys.append(part)
            kinds = []
    return keys, kinds


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
