"""References to artifacts: all that passes between the tasks of a flow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from crowdselect_core.store.artifacts import Artifact, Store


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


@dataclass(frozen=True, kw_only=True)
class SelectionArtifacts:
    """The artifacts that an export is made of."""

    instructions: Ref
    scores: Ref
    metrics: Ref
    answers: Ref
    embedder: Ref | None = None
    embeddings: Ref | None = None
    centers: Ref | None = None
    clusters: Ref | None = None
    lengths: Ref | None = None
    values: Ref | None = None
    ranking: Ref
    selection: Ref
    pairs: Ref | None = None
    comparison: Ref
    membership: Ref | None = None
    drift: Ref | None = None

    def refs(self) -> dict[str, Ref]:
        """The references that are there, by role."""
        return {name: ref for name, ref in vars(self).items() if ref is not None}
