"""Which rows may be chosen at all: quality gates before the selection, each off unless named."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import Place, read_names
from crowdselect_core.config.flags import GATES, Flag
from crowdselect_core.errors import ConfigError

Part = Literal["instruction", "response", "both"]
Names = Annotated[list[str], BeforeValidator(read_names)]
Share = Annotated[float, Field(ge=0, le=1)]

NEAR, SEMANTIC = 0.8, 0.95  # thresholds where a kind of duplicate is named without one
KINDS = ("exact", "normalised", "near", "semantic")  # of duplicates, the strictest first

# Gopher's limits: Rae et al., arXiv 2112.11446, table A1.
TOP_NGRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def _is_on(value: Any) -> bool:
    """Tell true, also as an environment variable writes it."""
    return value is True or (isinstance(value, str) and value.lower() == "true")


class Gate(Frozen):
    """A gate; `true` in place of its keys turns it on with its defaults."""

    @model_validator(mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return {} if _is_on(value) else value


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
        description="Further regular expressions, without case, that tell a refusal",
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
                re.compile(pattern)
            except re.error as e:
                raise ValueError(f"{pattern!r} is no regular expression: {e}") from None
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


def _threshold(default: float) -> BeforeValidator:
    """Read true as the default threshold, false as none."""
    return BeforeValidator(lambda v: default if _is_on(v) else None if v is False else v)


class DuplicatesGate(Gate):
    """Of rows with the same or nearly the same instruction the best one stays."""

    exact: bool = Field(False, description="The same instruction, character by character")
    normalised: bool = Field(
        False, description="The same words, whatever their case, white space and punctuation"
    )
    near: Annotated[Annotated[float, Field(ge=0.7, le=1)] | None, _threshold(NEAR)] = Field(
        None,
        description="Jaccard similarity of word 5-grams, found by MinHash (extra `quality`); true: "
        f"{NEAR}",
        examples=[NEAR],
    )
    semantic: Annotated[Annotated[float, Field(gt=0, le=1)] | None, _threshold(SEMANTIC)] = Field(
        None,
        description=f"Cosine similarity of the embeddings, within clusters; true: {SEMANTIC}",
        examples=[SEMANTIC],
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        names = read_names(value)
        if not isinstance(names, list):
            return value
        if unknown := [name for name in names if name not in KINDS]:
            raise ValueError(f"found {unknown[0]!r}, expected kinds of {', '.join(KINDS)}")
        return dict.fromkeys(names, True)

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.kinds:
            raise ValueError(f"names no kind; expected one or more of {', '.join(KINDS)}")
        return self

    @property
    def kinds(self) -> list[str]:
        """The kinds that are looked for, the strictest first."""
        return [kind for kind in KINDS if getattr(self, kind)]


class DecontaminationGate(Gate):
    """Rows whose instruction holds a prompt of a benchmark, or a part of one, are out."""

    against: Annotated[list[Place], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = (
        Field(
            min_length=1,
            description="Files of prompts (.jsonl, .parquet, .txt with one a line) and folders of "
            "benchmarks (with question.jsonl or input_data.jsonl)",
            examples=[["data/mt_bench", "data/ifeval/input_data.jsonl"]],
        )
    )
    ngram: int = Field(
        13, ge=2, le=64, description="Words in a row that are a match where a prompt shares them"
    )
    min_overlap: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of a prompt's n-grams that have to be found; 0: one is enough",
    )
    similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Cosine similarity of the embeddings from which a row counts as a prompt's "
        "paraphrase; when empty, embeddings are not compared",
        examples=[0.95],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_path(cls, value: Any) -> Any:
        return {"against": value} if isinstance(value, list | str) else value


class QualityConfig(Frozen):
    """Gates before the selection; each is off unless it is named."""

    language: LanguageGate | None = Field(
        None, description="Languages that are kept", examples=[["en"]]
    )
    length: LengthGate | None = Field(None, description="Limits of instruction and answer")
    refusals: RefusalGate | None = Field(None, description="true, or keys: no refusals")
    broken: BrokenGate | None = Field(None, description="true, or keys: no broken texts")
    repetition: RepetitionGate | None = Field(
        None, description="true, or keys: no answers that repeat themselves"
    )
    decontamination: DecontaminationGate | None = Field(
        None,
        description="No prompts of benchmarks; a path, a list of paths, or keys",
        examples=[["data/mt_bench"]],
    )
    duplicates: DuplicatesGate | None = Field(
        None,
        description="One row of each group of duplicates; a list of kinds, or keys",
        examples=[["exact", "near"]],
    )
    only: Annotated[bool, Flag(), GATES] = Field(
        False, description="Write the gates' counts and examples to OUT/quality.json, and end"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.gates:
            names = [name for name in QualityConfig.model_fields if name != "only"]
            raise ValueError(f"names no gate; expected one or more of {', '.join(names)}")
        return self

    @property
    def gates(self) -> list[str]:
        """The gates that are on, in the order in which a row's reason is looked for."""
        return [n for n in type(self).model_fields if n != "only" and getattr(self, n) is not None]

    @property
    def row_gates(self) -> list[str]:
        """The gates that look at one row alone and at its answer, in order."""
        return [name for name in self.gates if name not in ("decontamination", "duplicates")]

    @property
    def wants_vectors(self) -> bool:
        """Whether a gate compares embeddings."""
        duplicates, benchmarks = self.duplicates, self.decontamination
        return bool(
            (duplicates and duplicates.semantic is not None)
            or (benchmarks and benchmarks.similarity is not None)
        )


def required(quality: QualityConfig | None) -> QualityConfig:
    """Return the gates of a config that has some.

    Raises:
        ConfigError: it has none.
    """
    if quality is None:
        raise ConfigError("quality: names no gate; see docs/quality.md")
    return quality
