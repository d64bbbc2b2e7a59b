"""The crowd: which LLMs answered, to which family each belongs and how large it is."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from crowdselect_core.errors import CrowdError, nearest, shown
from crowdselect_core.frozen import CREDENTIALS, Frozen
from crowdselect_core.generate.config import EngineConfig, SamplingConfig
from crowdselect_core.reward.config import RewardConfig
from crowdselect_core.store.place import shown_path

BUILT_IN = Path(__file__).parent / "crowds"
_WORDS = {type(None): "nothing", list: "a list", str: "text"}
# What pydantic puts into a location for the branch of a union, beside the keys of the user.
_BRANCH = re.compile(
    r"(list|dict|tuple|literal|constrained|function|lax|nullable|tagged)\b.*|str|int|float|bool"
    r"|openai|vllm|transformers|classifier|likelihood|judge"
)


class CrowdModel(Frozen):
    """One response model of the crowd.

    `size` is in billions of parameters, or any number that orders the family: stability asks
    whether a larger model of the same family answers better. A model with an `engine` answers
    what the data set does not have of it.
    """

    name: str = Field(
        min_length=1,
        description="What the data set calls it, e.g. its column",
        examples=["qwen2.5-7b"],
    )
    family: str = Field(
        min_length=1, description="Stability compares inside a family", examples=["qwen2.5"]
    )
    size: float = Field(
        allow_inf_nan=False,
        description="Billions of parameters, or any number that orders the family",
        examples=[7],
    )
    revision: str | None = Field(
        None, description="Commit or tag of the model", examples=["a09a354"]
    )
    license: str | None = Field(
        None, description="Licence of the model's answers", examples=["apache-2.0"]
    )
    role: Literal["crowd", "student"] = Field(
        "crowd",
        description="student: the model to be trained; it is answered for and scored, counts in no "
        "metric but headroom, and its answers are never kept",
    )
    engine: EngineConfig | None = Field(None, description="What answers for it, where nothing has")
    sampling: SamplingConfig = Field(SamplingConfig(), description="How its answers are drawn")
    system_prompt: str | None = Field(
        None,
        description="Goes before every prompt that has no system message of its own",
        examples=["You are a helpful assistant."],
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="Given to the chat template", examples=[{"enable_thinking": False}]
    )


class CrowdFile(Frozen):
    """What a crowd file holds: the keys `crowd` and `reward_models` of a config, and no other."""

    crowd: list[CrowdModel]
    reward_models: list[str | RewardConfig] = Field([])


def built_in_crowds() -> list[str]:
    """Return the names of the crowds that come with the library."""
    return sorted(p.stem for p in BUILT_IN.glob("*.yaml"))


def read_crowd(path: str) -> CrowdFile:
    """Read a crowd file, or a built-in crowd by its name.

    Raises:
        CrowdError: no such file or name, not YAML, an unknown key, a wrong value.
    """
    where = shown_path(path)
    file = BUILT_IN / f"{path}.yaml" if path in built_in_crowds() else Path(path)
    try:
        raw: Any = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        known = built_in_crowds()
        raise CrowdError(
            f"crowd file {where!r} does not exist and is no built-in crowd either "
            f"({shown(known)}){nearest(path, known)}: give a YAML file with the key 'crowd'"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        cause = str(e).replace("\n", " ") if where == path else type(e).__name__
        raise CrowdError(f"crowd file {where!r} cannot be read as YAML: {cause}") from None
    if not isinstance(raw, dict):
        raise CrowdError(
            f"crowd file {where!r} holds {_WORDS.get(type(raw), repr(raw)[:80])}, expected a "
            "mapping with the key 'crowd' (a list of {name, family, size})"
        )
    try:
        return CrowdFile.model_validate(raw)
    except ValidationError as e:
        raise CrowdError(f"crowd file {where!r}: {explain(e, CrowdFile)}") from None


def check_crowd(crowd: list[CrowdModel]) -> list[CrowdModel]:
    """Return the crowd, its student too, in name order.

    Raises:
        CrowdError: no model at all, a name that stands twice, several students, or nobody beside
            the student.
    """
    names = [m.name for m in crowd]
    if not names:
        raise CrowdError("the crowd is empty: name at least one model (name, family, size)")
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise CrowdError(f"crowd: {shown(twice)} stand(s) twice: give every model one entry")
    students = sorted(m.name for m in crowd if m.role == "student")
    if len(students) > 1:
        raise CrowdError(
            f"crowd: {shown(students)} have the role student, expected one at most: headroom is "
            "about one model, so leave out the role of the others, or the others"
        )
    if len(students) == len(crowd):
        raise CrowdError(
            f"crowd: {shown(students)} is the student and no other model is named: name at least "
            "one model with the role crowd, the metrics are about those"
        )
    return sorted(crowd, key=lambda m: m.name)


def families(crowd: list[CrowdModel]) -> dict[str, list[CrowdModel]]:
    """Return the models of each family, families and models in name order."""
    by_family: dict[str, list[CrowdModel]] = {}
    for model in sorted(crowd, key=lambda m: (m.family, m.name)):
        by_family.setdefault(model.family, []).append(model)
    return by_family


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
