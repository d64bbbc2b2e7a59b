"""Gates that look at one row and the answer that would be kept; `config.quality` has the others."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import read_names

Part = Literal["instruction", "response", "both"]
Names = Annotated[list[str], BeforeValidator(read_names)]
Share = Annotated[float, Field(ge=0, le=1)]

# Gopher's limits: Rae et al., arXiv 2112.11446, table A1.
TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def is_on(value: Any) -> bool:
    """Tell true, also as an environment variable writes it."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


def is_off(value: Any) -> bool:
    """Tell false, also as an environment variable writes it."""
    return value is False or (isinstance(value, str) and value.lower() == "false")


class Gate(Frozen):
    """A gate; `true` in place of its keys turns it on with its defaults."""

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return {} if is_on(value) else value


class LanguageGate(Gate):
    """Rows in another language than those named are out."""

    languages: Names = Field(
        min_length=1,
        description="ISO 639-1 codes of the languages that are kept; a bare list stands for them",
        examples=[["en"], ["en", "de"]],
    )
    of: Part = Field("both", description="Which text is looked at: instruction, response or both")
    min_probability: float = Field(
        0.5,
        gt=0,
        le=1,
        description="A text is in another language when that one is at least so probable",
    )
    min_letters: int = Field(20, ge=1, description="Texts of fewer letters are not judged")

    @model_validator(mode="before")
    @classmethod
    def _bare_list(cls, value: Any) -> Any:
        return {"languages": value} if isinstance(value, list | str) else value


class LengthLimits(Frozen):
    """Limits of one text; a word is what near-duplicates count as one."""

    min_words: int | None = Field(None, ge=1, description="Fewest words")
    max_words: int | None = Field(None, ge=1, description="Most words")
    min_characters: int | None = Field(None, ge=1, description="Fewest characters")
    max_characters: int | None = Field(None, ge=1, description="Most characters")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for of in ("words", "characters"):
            low, high = getattr(self, f"min_{of}"), getattr(self, f"max_{of}")
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{of} {low} is above max_{of} {high}")
        return self


class LengthGate(Gate):
    """Rows whose instruction or answer is too short or too long are out."""

    instruction: LengthLimits = Field(LengthLimits(), description="Limits of the instruction")
    response: LengthLimits = Field(LengthLimits(), description="Limits of the kept answer")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self == LengthGate.model_construct():
            raise ValueError(
                "expected a limit, such as length: {response: {min_words: 5}} (also instruction, "
                "max_words, min_characters, max_characters)"
            )
        return self


class RefusalGate(Gate):
    """Rows whose answer begins with a refusal are out; docs/quality.md lists the patterns."""

    patterns: list[str] = Field(
        [],
        description="Further regular expressions, without case, that tell a refusal; they run as "
        "they are",
        examples=[["not (?:comfortable|willing) to"]],
    )
    characters: int = Field(
        300, ge=1, description="Characters at the start of the answer that are looked at"
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                compiled = re.compile(pattern, re.IGNORECASE)
            except re.error as e:
                raise ValueError(f"{pattern!r} is no regular expression: {e}") from None
            if compiled.search(""):
                raise ValueError(f"{pattern!r} matches an empty answer, so it would match any")
        return patterns


class BrokenGate(Gate):
    """Rows whose text is broken or whose answer is unfinished are out."""

    characters: bool = Field(
        True,
        description="U+FFFD (lost characters) or control characters in instruction or answer",
    )
    code_fences: bool = Field(True, description="A code block of the answer that is never closed")
    unfinished: bool = Field(
        True, description="The answer ends in a comma, colon, hyphen or opening bracket"
    )


class RepetitionGate(Gate):
    """Rows whose answer repeats itself are out, by Gopher's rules (arXiv 2112.11446, A1)."""

    min_words: int = Field(50, ge=1, description="Answers of fewer words are not judged")
    duplicate_lines: Share = Field(0.30, description="Most of the lines that repeat another")
    duplicate_paragraphs: Share = Field(0.30, description="Most of the paragraphs that do")
    duplicate_line_characters: Share = Field(
        0.20, description="Most of the characters in lines that repeat another"
    )
    duplicate_paragraph_characters: Share = Field(
        0.20, description="Most of the characters in such paragraphs"
    )
    top_ngrams: dict[int, Share] = Field(
        TOP_NGRAMS,
        description="By n: most of the characters in the commonest word n-gram, if it repeats "
        f"({', '.join(f'{n}: {most}' for n, most in TOP_NGRAMS.items())})",
    )
    duplicate_ngrams: dict[int, Share] = Field(
        DUPLICATE_NGRAMS,
        description="By n: most of the characters in word n-grams that repeat an earlier one "
        f"({', '.join(f'{n}: {most}' for n, most in DUPLICATE_NGRAMS.items())})",
    )

    @field_validator("top_ngrams", "duplicate_ngrams")
    @classmethod
    def _positive(cls, limits: dict[int, float]) -> dict[int, float]:
        if wrong := [n for n in limits if not 1 <= n <= 20]:
            raise ValueError(f"n-grams of {wrong[0]} words: expected 1 to 20")
        return limits
