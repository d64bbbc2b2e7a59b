"""What rows are ranked by: the names of the methods, and the section of each that has keys."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.flags import Flag
from crowdselect_core.config.reward import DOTTED
from crowdselect_core.errors import ConfigError, CrowdError, nearest, shown

COLUMN = "column:"

Name = Literal[
    "crowdselect",
    "difficulty",
    "separability",
    "stability",
    "headroom",
    "reward",
    "random",
    "length",
    "k-center",
    "teacher",
    "ifd",
    "deita",
    "rds+",
    "instag",
    "direct-score",
]


def _written_out(method: str) -> str:
    """Take column:NAME and module:function."""
    if not re.fullmatch(rf"{COLUMN}.+", method) and not is_function(method):
        raise ValueError("column:NAME, or module:function for a function of your own")
    return method


Method = Name | Annotated[str, AfterValidator(_written_out)]


def is_function(method: str) -> bool:
    """Tell a function of the user's, module:function, from the name of a method."""
    return not method.startswith(COLUMN) and DOTTED.fullmatch(method) is not None


def column_of(method: str) -> str | None:
    """Return the column that column:NAME names, None for another method."""
    return method.removeprefix(COLUMN) if method.startswith(COLUMN) else None


def check_teacher(
    teacher: str | None, response: str | Sequence[str] | None, crowd: Sequence[str]
) -> None:
    """Check whose answers the method teacher keeps.

    Raises:
        ConfigError: no model is named, or another response too.
        CrowdError: it is no crowd model.
    """
    if teacher is None:
        raise ConfigError(
            "method teacher keeps the answers of one model: name it with --teacher-model "
            f"({shown(crowd)})"
        )
    if teacher not in crowd:
        raise CrowdError(
            f"teacher.model {teacher!r} is not in the crowd{nearest(teacher, crowd)} "
            f"({shown(crowd)})"
        )
    if response not in (None, teacher):
        raise ConfigError(
            f"method teacher keeps the answers of {teacher!r}, but response is {response!r}: "
            "leave response out"
        )


class LengthConfig(Frozen):
    """What the method length counts: the tokens of the instruction, or of the kept answer."""

    of: Annotated[Literal["instruction", "response"], Flag("WHAT", "--length-of")] = Field(
        "instruction",
        description="What the method length counts: instruction (the paper's baseline), or "
        "response, the answer that is kept",
    )
    tokenizer: Annotated[str | None, Flag("NAME", "--length-tokenizer")] = Field(
        None,
        description="Tokenizer of the method length, a folder or hub id; when empty, tokens are "
        "estimated as UTF-8 bytes / 4",
        examples=["meta-llama/Llama-3.2-3B-Instruct"],
    )


class TeacherConfig(Frozen):
    """The method teacher: random instructions, each with the answer of one model."""

    model: Annotated[str | None, Flag("NAME", "--teacher-model")] = Field(
        None,
        description="Crowd model whose answers the method teacher keeps",
        examples=["qwen2.5-72b"],
    )


class FunctionConfig(Frozen):
    """A method of your own, module:function, which runs in a process of its own."""

    version: str = Field(
        "1", description="Version of the function; raise it when it computes something else"
    )
    time_limit: float = Field(600.0, gt=0, description="Time limit of the call, in seconds")
