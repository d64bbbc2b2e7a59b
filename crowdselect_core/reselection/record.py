"""The record of a selection of a series: what it stands on, so that the next one can go on.

Records are JSON files in ROOT/selections/<series>/, written once and never changed; `latest.json`
names the one that counts. A record names artifacts by their keys and holds no time, so that two
runs that make the same selection of one data set write the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crowdselect_core.config import SelectConfig
from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.export.write import Inputs
from crowdselect_core.stages.common import Ref
from crowdselect_core.store.sealed import sealed, unsealed
from crowdselect_core.store.store import Store

_NAMED = re.compile(r"(?P<stage>[a-z-]+)/(?P<key>[0-9a-f]{64})")


@dataclass(frozen=True)
class Record:
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

    mode: str
    base: int | None
    measures: Mapping[str, Any]
    config: Mapping[str, Any]
    rows: Mapping[str, int]
    artifacts: Mapping[str, str]
    references: Mapping[str, str]
    parts: Mapping[str, Sequence[str]]
    zoos: Sequence[str]

    def encode(self) -> bytes:
        """Return the record's bytes, with a checksum of itself."""
        return sealed(vars(self))

    @classmethod
    def decode(cls, data: bytes) -> "Record":
        """Read a record.

        Raises:
            DamagedArtifact: not the bytes that `encode` wrote.
        """
        try:
            record = cls(**unsealed(data))
            named = [*record.artifacts.values(), *record.references.values()]
            named += [*(name for names in record.parts.values() for name in names), *record.zoos]
            whole = all(_NAMED.fullmatch(name) for name in named)
        except (TypeError, AttributeError) as e:
            raise DamagedArtifact(f"is no record ({type(e).__name__})") from None
        if not whole:
            raise DamagedArtifact("names an artifact that is none of this store's")
        return record


@dataclass(frozen=True)
class Chosen:
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
    inputs: Inputs
    raw: Ref
    dataset: Ref
    zoos: Sequence[Ref]
    stages: Sequence[Ref]


@dataclass(frozen=True)
class Known:
    """What a record stands on, as references."""

    number: int
    record: Record
    inputs: Inputs
    raw: Ref
    dataset: Ref
    references: Mapping[str, Ref]
    parts: Mapping[str, Sequence[Ref]]
    zoos: Sequence[Ref]


def known(store: Store, number: int, record: Record) -> Known:
    """Return the artifacts of a record.

    Raises:
        DamagedArtifact: one of them is gone or damaged.
    """
    refs = {role: named(store, name) for role, name in record.artifacts.items()}
    raw, dataset = refs.pop("raw"), refs.pop("dataset")
    return Known(
        number=number,
        record=record,
        inputs=Inputs(**refs),
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
