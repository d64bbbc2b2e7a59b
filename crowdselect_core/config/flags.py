"""Which keys of a config are flags; flags, `--help` and documentation follow from the fields.

A field is marked where it is declared: `limit: Annotated[int | None, Flag("N")] = Field(...)`. The
flag is named after the key (`budget_tokens`: --budget-tokens; `epochs` in the section `training`:
--training-epochs), its help is the field's description. A bool is a switch, a list may be repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from crowdselect_core.config.base import configs_in


@dataclass(frozen=True)
class Flag:
    """The mark of a field that is a flag.

    Args:
        metavar: what stands for the value in `--help`; a switch has none.
        spelling: the flag, where it is not named after the key.
    """

    metavar: str | None = None
    spelling: str | None = None


@dataclass(frozen=True)
class Step:
    """The mark of a field, or of a whole section, that only one step of the work reads.

    Without it every command takes the flag; with it, those commands that run the step.
    """

    name: str


Mark = TypeVar("Mark", Flag, Step)

SCORES = Step("scores")
SELECTION = Step("selection")
TRAINING = Step("training")
EVALUATION = Step("evaluation")
EXPERIMENT = Step("experiment")
PUSH = Step("push")  # the upload of a selection
REPORT = Step("report")  # a run that writes report.html
GATES = Step("gates")  # a run that ends after the quality gates


@dataclass(frozen=True)
class Option:
    """A flag of a command.

    Args:
        flag: as it is written, e.g. `--budget-tokens`.
        keys: the config key that it sets, a section's name first.
        owner: the config that declares the field.
        metavar: what stands for the value; None for a switch.
        step: the step that reads it; None: every step.
    """

    flag: str
    keys: tuple[str, ...]
    owner: type[BaseModel]
    metavar: str | None
    step: Step | None

    @property
    def field(self) -> FieldInfo:
        """The field that it sets."""
        return self.owner.model_fields[self.keys[-1]]

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be given several times, a list in all."""
        return get_origin(self.field.annotation) is list


def options_of(config: type[BaseModel]) -> list[Option]:
    """Return the flags of a config and of its sections, in the order of the fields.

    A section that stands at two keys has its own spellings at the first one: the second's flags are
    named after their keys.

    Raises:
        TypeError: two keys would have the same flag.
    """
    options: dict[str, Option] = {}
    for option in _options(config, (), None):
        other = options.get(option.flag)
        if other and other.keys != option.keys:
            option = replace(option, flag=_named_after(option.keys))
            other = options.get(option.flag)
        if other and other.keys != option.keys:
            keys = " and ".join(".".join(o.keys) for o in (other, option))
            raise TypeError(f"{option.flag} stands for {keys}: give one of them a spelling")
        options.setdefault(option.flag, option)
    return list(options.values())


def _options(
    config: type[BaseModel], above: tuple[str, ...], step: Step | None
) -> Iterator[Option]:
    for name, field in config.model_fields.items():
        keys = (*above, name)
        own = step_of(field) or step
        if mark := _mark(field, Flag):
            flag = mark.spelling or _named_after(keys)
            yield Option(flag, keys, config, _metavar(mark, field), own)
        for section in configs_in(field.annotation, in_lists=False):
            yield from _options(section, keys, own)


def _named_after(keys: tuple[str, ...]) -> str:
    return "--" + "-".join(keys).replace("_", "-")


def step_of(field: FieldInfo) -> Step | None:
    """Return the step that reads a field, where it is marked with one."""
    return _mark(field, Step)


def _metavar(mark: Flag, field: FieldInfo) -> str | None:
    return None if field.annotation in (bool, bool | None) else mark.metavar or "VALUE"


def _mark(field: FieldInfo, kind: type[Mark]) -> Mark | None:
    return next((m for m in field.metadata if isinstance(m, kind)), None)
