"""The crowd: which LLMs answered, to which family each belongs and how large it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.engine import EngineConfig, SamplingConfig
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.config.yaml_text import read_yaml
from crowdselect_core.errors import CrowdError, nearest, shown
from crowdselect_core.urls import expanded, shown_path

BUILT_IN = Path(__file__).parent.parent / "crowds"

PAPER = "paper"  # the crowd of a config that names none
PAPER_EXPECTED = "no --crowd given, or the paper's, so the paper's 19 models are expected: "

_WORDS = {type(None): "nothing", list: "a list", str: "text"}


class CrowdModel(Frozen):
    """One response model of the crowd.

    `size` is in billions of parameters, or any number that orders the family: stability asks
    whether a larger model of the same family answers better. A model with an `engine` answers
    what the data set does not have of it.
    """

    name: str = Field(
        min_length=1,
        description="Name of the model: its column in the data set, and in what is written",
        examples=["qwen2.5-7b"],
    )
    family: str = Field(
        min_length=1,
        description="Family of the model; stability compares the models of a family",
        examples=["qwen2.5"],
    )
    size: float = Field(
        allow_inf_nan=False,
        description="Billions of parameters, or any number that orders the family",
        examples=[7],
    )
    revision: str | None = Field(
        None, description="Commit, tag or branch of its hub id", examples=["a09a354"]
    )
    license: str | None = Field(
        None, description="Licence of its answers; for you to read", examples=["apache-2.0"]
    )
    role: Literal["crowd", "student"] = Field(
        "crowd",
        description="student: the model to be trained; it answers and is scored, counts only in "
        "headroom, and its answers are never selected",
    )
    engine: EngineConfig | None = Field(
        None, description="What generates its answers, where the data set has none"
    )
    sampling: SamplingConfig = Field(SamplingConfig(), description="How its answers are sampled")
    system_prompt: str | None = Field(
        None,
        description="Precedes every prompt that has no system message",
        examples=["You are a helpful assistant."],
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="Arguments of the chat template", examples=[{"enable_thinking": False}]
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
        CrowdError: no such file or name, not YAML, a key twice, an unknown key, a wrong value.
    """
    where = shown_path(path)
    file = BUILT_IN / f"{path}.yaml" if path in built_in_crowds() else Path(expanded(path))
    try:
        raw: Any = read_yaml(file.read_text("utf-8"))
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
    if raw and not raw.keys() & CrowdFile.model_fields.keys() and _are_settings(raw):
        raise CrowdError(
            f"crowd file {where!r} maps names of models to their settings ({shown(raw, 3)}), "
            f"expected the key 'crowd' with a list: crowd: [{{name: {shown(list(raw)[:1])}, "
            "family: ..., size: ...}, ...]"
        )
    return checked(CrowdFile, raw, f"crowd file {where!r}", CrowdError)


def _are_settings(raw: dict[Any, Any]) -> bool:
    """Tell a mapping whose values are mappings with a key of a crowd model, or nothing."""
    known = CrowdModel.model_fields.keys()
    return all(v is None or (isinstance(v, dict) and v.keys() & known) for v in raw.values())


def is_paper(crowd: Sequence[CrowdModel]) -> bool:
    """Tell the paper's crowd, which is expected where no other is named."""
    return {m.name for m in crowd} == {m.name for m in read_crowd(PAPER).crowd}


def check_crowd(crowd: list[CrowdModel]) -> list[CrowdModel]:
    """Return the crowd, its student too, in name order.

    Raises:
        CrowdError: no model at all, a name that stands twice, several students, or nobody beside
            the student.
        TypeError: an entry is no CrowdModel.
    """
    for place, model in enumerate(crowd):
        if not isinstance(model, CrowdModel):
            raise TypeError(
                f"crowd: entry {place} is a {type(model).__name__}, expected a CrowdModel: "
                "CrowdModel(name=..., family=..., size=...)"
            )
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
