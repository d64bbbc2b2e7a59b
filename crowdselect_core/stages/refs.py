"""References to artifacts: all that passes between the tasks of a flow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from crowdselect_core.store.artifacts import Artifact, Store

REMAINING_ROWS = "remaining"  # stage of the rows that held-out ones have left, or a subsample is of


class Ref(BaseModel):
    """A reference to an artifact; all that passes between the tasks of a flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    key: str
    rows: int
    cached: bool = False
    seconds: float = 0.0
    counts: Mapping[str, int] = {}
    facts: Mapping[str, Any] = {}

    @classmethod
    def of(cls, artifact: Artifact, seconds: float = 0.0, *, cached: bool = True) -> Self:
        """Return the reference to an artifact."""
        m = artifact.manifest
        return cls(
            stage=m.stage, key=m.key, rows=m.rows, cached=cached, seconds=round(seconds, 3),
            counts=m.counts, facts=m.facts,
        )  # fmt: skip

    @classmethod
    def to_compute(cls, stage: str) -> Self:
        """Return what stands for an artifact that is not computed yet, in a dry run."""
        return cls(stage=stage, key="", rows=0)

    @property
    def is_computed(self) -> bool:
        """Whether there is an artifact, and so facts and counts."""
        return bool(self.key)

    def open(self, store: Store) -> Artifact:
        """Return the artifact; DamagedArtifact when it is incomplete."""
        return store.open(self.stage, self.key)


@dataclass(frozen=True)
class Split:
    """Instructions without the held-out rows and what resembles them.

    Args:
        rows: what remains; all instructions where nothing is held out.
        heldout: the rows that are set aside.
        duplicates: the rows that leave because they resemble one of these.
    """

    rows: Ref
    heldout: Ref | None = None
    duplicates: Ref | None = None

    @property
    def made(self) -> list[Ref]:
        """The artifacts of the split, in order; none where all rows remain."""
        if self.rows.stage != REMAINING_ROWS:
            return []
        return [ref for ref in (self.heldout, self.duplicates, self.rows) if ref is not None]


@dataclass(frozen=True, kw_only=True)
class GateArtifacts:
    """What the quality gates found.

    Args:
        candidates: which rows could be chosen before the gates.
        row_filters: the rows that fail a gate which looks at one row.
        contamination: those that hold a benchmark's prompt.
        duplicate_groups: those whose instructions are duplicates.
        gated: which rows pass all gates but that of duplicates.
    """

    candidates: Ref
    row_filters: Ref | None = None
    contamination: Ref | None = None
    duplicate_groups: Ref | None = None
    gated: Ref

    def refs(self) -> dict[str, Ref]:
        """The references that are there, by role."""
        return {name: ref for name, ref in vars(self).items() if ref is not None}


@dataclass(frozen=True, kw_only=True)
class RowArtifacts:
    """The artifacts up to the rows that may be chosen.

    `answers` says which these are; with quality gates `candidates` says it without them.
    """

    instructions: Ref
    scores: Ref
    metrics: Ref
    candidates: Ref | None = None
    row_filters: Ref | None = None
    contamination: Ref | None = None
    duplicate_groups: Ref | None = None
    gated: Ref | None = None
    answers: Ref
    heldout: Ref | None = None
    heldout_duplicates: Ref | None = None

    def refs(self) -> dict[str, Ref]:
        """The references that are there, by role."""
        return {name: ref for name, ref in vars(self).items() if ref is not None}

    @property
    def gates(self) -> GateArtifacts | None:
        """What the quality gates found; None without gates."""
        if self.candidates is None or self.gated is None:
            return None
        return GateArtifacts(
            candidates=self.candidates,
            row_filters=self.row_filters,
            contamination=self.contamination,
            duplicate_groups=self.duplicate_groups,
            gated=self.gated,
        )


@dataclass(frozen=True, kw_only=True)
class RankedArtifacts(RowArtifacts):
    """The artifacts up to a ranking."""

    embedder: Ref | None = None
    embeddings: Ref | None = None
    centers: Ref | None = None
    clusters: Ref | None = None
    lengths: Ref | None = None
    values: Ref | None = None
    ranking: Ref


@dataclass(frozen=True, kw_only=True)
class SelectionArtifacts(RankedArtifacts):
    """The artifacts that an export is made of."""

    selection: Ref
    pairs: Ref | None = None
    comparison: Ref
    membership: Ref | None = None
    drift: Ref | None = None
