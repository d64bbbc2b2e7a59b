"""Which rows may be chosen at all: quality gates before the selection, each off unless named."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import Place, read_names
from crowdselect_core.config.flags import GATES, Flag
from crowdselect_core.config.row_gates import (
    BrokenGate,
    Gate,
    LanguageGate,
    LengthGate,
    RefusalGate,
    RepetitionGate,
    is_off,
    is_on,
)
from crowdselect_core.errors import ConfigError

NEAR, SEMANTIC = 0.8, 0.95  # thresholds where a kind of duplicate is named without one
KINDS = ("exact", "normalised", "near", "semantic")  # of duplicates, the strictest first


def _threshold(default: float) -> BeforeValidator:
    """Read true as the default threshold, false as none."""
    return BeforeValidator(lambda v: default if is_on(v) else None if is_off(v) else v)


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

    @field_validator(
        "language", "length", "refusals", "broken", "repetition", "decontamination", "duplicates",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _off(cls, value: Any) -> Any:
        return None if is_off(value) else value

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
    def ends_before_ranking(self) -> bool:
        """Whether nothing is ranked: the run ends, and no gate keeps the best of some rows."""
        return self.only and self.duplicates is None

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
