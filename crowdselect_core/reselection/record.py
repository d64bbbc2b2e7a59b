"""The record of a selection of a series: what it stands on, so that the next one can go on.

Records are JSON files in ROOT/selections/<series>/, written once and never changed; `latest.json`
names the one that counts. A record names artifacts by their keys and holds no time, so that two
runs that make the same selection of one data set write the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any

from pydantic import StringConstraints, TypeAdapter, ValidationError

from crowdselect_core.config.reselect import Mode
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.reselection.settings import CHOICE
from crowdselect_core.stages.refs import (
    REMAINING_ROWS,
    RankedArtifacts,
    Ref,
    RowArtifacts,
    SelectionArtifacts,
)
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.checksummed_json import dumps_checksummed, loads_checksummed
from crowdselect_core.store.identity import canonical

Name = Annotated[str, StringConstraints(pattern=r"^[a-z-]+/[0-9a-f]{64}$")]  # of an artifact


@dataclass(frozen=True)
class SelectionRecord:
    """One selection of a series.

    Args:
        mode: frozen, or refit (which the first one is).
        base: the number of the selection that it went on from, None for a first one.
        measures: what `settings.measures` gave.
        config: what `settings.told` gave: all keys but where things lie and how they run.
        rows: counts of the rows: all, new, gone, chosen, in, out, stayed.
        artifacts: the artifacts of the selection by role, as STAGE/KEY; `raw` are the instructions
            of the data set, `dataset` those of all that was ever answered and scored.
        references: artifacts that new rows are measured by: ranking, metrics, embedder, centers.
        parts: of every table of rows the artifacts that hold them, in the order they were made:
            those of the fit, then those of each frozen selection's new rows. Rows that are gone
            from the data set stay there, and are known when they return.
        zoos: the zoos in the store that the rows come from; empty where the data set has scores.
    """

    mode: Mode
    base: int | None
    measures: dict[str, Any]
    config: dict[str, Any]
    rows: dict[str, int]
    artifacts: dict[str, Name]
    references: dict[str, Name]
    parts: dict[str, list[Name]]
    zoos: list[Name]

    def encode(self) -> bytes:
        """Return the record's bytes, with a checksum of itself."""
        return dumps_checksummed(vars(self))

    @classmethod
    def decode(cls, data: bytes) -> "SelectionRecord":
        """Read a record.

        Raises:
            DamagedArtifact: not the bytes that `encode` wrote.
        """
        told = loads_checksummed(data)
        try:
            record = _RECORD.validate_json(canonical(told), strict=True)
        except ValidationError as e:
            where = ".".join(map(str, e.errors()[0]["loc"]))
            raise DamagedArtifact(f"is no record (see {where[:80]!r})") from None
        if set(told) != {field.name for field in fields(cls)}:
            raise DamagedArtifact("is no record (it has other keys)")
        if not _NEEDED <= set(record.artifacts) <= _ROLES or _COUNTED - set(record.rows):
            raise DamagedArtifact("has no artifact or count that a selection needs")
        if {"in", "out"} & set(record.rows) and _CHANGED - set(record.rows):
            raise DamagedArtifact("has no counts of changes")
        if not all(record.parts.get(role) for role in _TABLES) or _FITTED - set(record.references):
            raise DamagedArtifact("has no artifacts for the next selection")
        if lacks := set(CHOICE) - set(record.config):
            raise DamagedArtifact(f"lacks {min(lacks)!r} in its config")
        return record


_RECORD = TypeAdapter(SelectionRecord)
_COUNTED, _CHANGED = {"all", "chosen"}, {"new", "back", "gone", "in", "out", "stayed"}
_TABLES, _FITTED = ("scores", "metrics", "answers", "ranking"), {"ranking", "metrics"}
# The artifacts that a selection has, and those that it may have.
_ROLES = {"raw", "dataset", *(field.name for field in fields(SelectionArtifacts))}
_NEEDED = {"raw", "dataset", *(f.name for f in fields(SelectionArtifacts) if f.default is MISSING)}


@dataclass(frozen=True)
class SelectionRun:
    """A selection that was made: the config of what it was chosen from, and its artifacts.

    Args:
        config: its data set has all answers and scores.
        inputs: the artifacts that it is written from.
        raw: the instructions of the data set that the user named.
        dataset: those of all that was ever answered and scored; the same where nothing was made.
        zoos: what was made, in the store.
        stages: every artifact, in order.
    """

    config: SelectConfig
    inputs: SelectionArtifacts
    raw: Ref
    dataset: Ref
    zoos: Sequence[Ref]
    stages: Sequence[Ref]


@dataclass(frozen=True)
class RowsRun:
    """What a selection chooses from: the config of it, and its artifacts up to the gates.

    Args:
        config: its data set has all answers and scores.
        inputs: the artifacts.
        dataset: the instructions of all that was ever answered and scored.
        made: artifacts of answers and scores that the data set lacked.
        own: the config of what the data set has by itself.
    """

    config: SelectConfig
    inputs: RowArtifacts
    dataset: Ref
    made: Sequence[Ref]
    own: SelectConfig

    @property
    def before(self) -> list[Ref]:
        """The artifacts that come before `inputs`, in order."""
        left = self.inputs.instructions.stage == REMAINING_ROWS
        return [*self.made] or ([self.dataset] if left else [])

    @property
    def given(self) -> tuple[SelectConfig, Ref]:
        """The config of the data set as the user gave it, and its instructions."""
        return self.own, self.made[0] if self.made else self.inputs.instructions


@dataclass(frozen=True)
class RankedRun(RowsRun):
    """The same, and its artifacts up to the ranking."""

    inputs: RankedArtifacts


@dataclass(frozen=True)
class NewRows:
    """The new rows, measured by what the base was fitted on."""

    config: SelectConfig
    instructions: Ref
    scores: Ref
    metrics: Ref
    answers: Ref
    ranking: Ref
    embeddings: Ref | None
    clusters: Ref | None
    zoo: Ref | None

    @property
    def tables(self) -> dict[str, Ref]:
        """Its artifacts by role, in order."""
        return {role: ref for role, ref in vars(self).items() if isinstance(ref, Ref)}


@dataclass(frozen=True)
class BaseSelection:
    """A selection that the next one goes on from."""

    number: int
    record: SelectionRecord


@dataclass(frozen=True)
class KnownSelection(BaseSelection):
    """What it stands on, as references."""

    inputs: SelectionArtifacts
    raw: Ref
    dataset: Ref
    references: Mapping[str, Ref]
    parts: Mapping[str, Sequence[Ref]]
    zoos: Sequence[Ref]


def known(store: Store, base: BaseSelection) -> KnownSelection:
    """Return the artifacts of a record.

    Raises:
        DamagedArtifact: one of them is gone or damaged.
    """
    record = base.record
    refs = {role: named(store, name) for role, name in record.artifacts.items()}
    raw, dataset = refs.pop("raw"), refs.pop("dataset")
    return KnownSelection(
        number=base.number,
        record=record,
        inputs=SelectionArtifacts(**refs),
        raw=raw,
        dataset=dataset,
        references={role: named(store, name) for role, name in record.references.items()},
        parts={role: [named(store, n) for n in names] for role, names in record.parts.items()},
        zoos=[named(store, name) for name in record.zoos],
    )


def name_of(ref: Ref) -> str:
    """Return how a record names an artifact."""
    return f"{ref.stage}/{ref.key}"


def named(store: Store, name: str) -> Ref:
    """Return the artifact that a record names; DamagedArtifact where there is none."""
    stage, _, key = name.partition("/")
    return Ref.of(store.open(stage, key))
