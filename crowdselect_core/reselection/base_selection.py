"""The selection that a reselection goes on from, and what has changed since."""

import json
import re
from collections.abc import Mapping
from typing import Any

from crowdselect_core.config.reselect import Mode, ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import checked
from crowdselect_core.errors import ConfigError, DamagedArtifact, StorageError
from crowdselect_core.reselection.record import (
    BaseSelection,
    KnownSelection,
    SelectionRecord,
    SelectionRun,
    known,
    name_of,
)
from crowdselect_core.reselection.series import Series
from crowdselect_core.reselection.settings import EXECUTION, choice, measures, told
from crowdselect_core.stages.known_rows import KnownRows
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.row_columns import RowReader, numbered_frames
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import canonical, differences

# What new rows are measured by.
REFERENCES = ("ranking", "metrics", "embedder", "centers", "clusters")
# The tables of rows that a frozen selection adds to.
PARTS = ("scores", "metrics", "answers", "ranking", "clusters", "embeddings")


def read(config: ReselectConfig, store: Store) -> BaseSelection | None:
    """Return the base that the config names, None before the first selection of its series.

    Raises:
        SelectionError: the series has no selection of that number.
        StorageError: the record or the pointer is damaged.
        ConfigError: a limit; frozen, and rows would be measured otherwise than the base's were.
    """
    if config.limit is not None:
        raise ConfigError("limit: a reselection takes the whole data set; leave limit out")
    series = Series(store, config.series)
    number = series.latest() if config.base == "latest" else config.base
    if number is None:
        return None
    record = series.record(number)
    if config.mode == "frozen" and (different := unlike(config, record)):
        raise ConfigError(
            f"mode frozen: selection {number} of series {config.series!r} measured its rows "
            f"otherwise ({'; '.join(different[:3])}); set these back, or pass --mode refit"
        )
    return BaseSelection(number, record)


def whole(config: ReselectConfig, store: Store, base: BaseSelection) -> KnownSelection:
    """Return what a base stands on.

    Raises:
        StorageError: frozen, and an artifact is damaged or gone.
        DamagedArtifact: the same in a refit, which does without it.
    """
    try:
        return known(store, base)
    except DamagedArtifact as damage:
        if config.mode == "frozen":
            raise unmendable(config, damage) from None
        raise


def numbered(config: ReselectConfig, store: Store, number: int) -> KnownSelection:
    """Return a selection of the series.

    Raises:
        SelectionError: there is none of that number.
        StorageError: its record or an artifact that it needs is damaged or gone.
    """
    record = Series(store, config.series).record(number)
    try:
        return known(store, BaseSelection(number, record))
    except DamagedArtifact as e:
        raise StorageError(
            f"selection {number} of series {config.series!r} is incomplete: {e}; name another "
            "one, or select again with --mode refit"
        ) from None


def as_it_was(config: ReselectConfig, record: SelectionRecord) -> ReselectConfig:
    """Return the config that a selection was made with; it lies and runs where this one says."""
    here = {name: getattr(config, name) for name in EXECUTION}
    where = (
        f"series {config.series!r}: select again, this version does not accept the config of the "
        "selection"
    )
    return checked(ReselectConfig, {**record.config, **here}, where, StorageError).resolved()


def unmendable(config: ReselectConfig, damage: DamagedArtifact) -> StorageError:
    """Return the error for something that a base needs and that a frozen run cannot compute."""
    return StorageError(
        f"{damage}: the base of series {config.series!r} needs it, and a frozen run cannot compute "
        "it again; pass --mode refit once, which recomputes every row, or name another --base"
    )


def folder_of(damage: DamagedArtifact) -> str:
    """Return the artifact that is damaged, as STAGE/KEY, or all that is said of it."""
    found = re.search(r"[a-z-]+/[0-9a-f]{64}", str(damage))
    return found[0] if found else str(damage)


def unlike(config: SelectConfig, record: SelectionRecord) -> list[str]:
    """Name what separates a config's measures from those of a record."""
    return differences(record.measures, as_json(measures(config)))


def is_same_choice(config: SelectConfig, record: SelectionRecord) -> bool:
    """Tell whether the same rows would be chosen among the same measured ones."""
    return choice(record.config) == choice(as_json(told(config)))


def keeps_same_answers(config: SelectConfig, record: SelectionRecord) -> bool:
    """Tell whether the same answer of a row that both know would be kept."""
    return bool(record.config["response"] == as_json(told(config))["response"])


def is_same_outcome(store: Store, known: KnownSelection, now: SelectionRun) -> bool:
    """Tell whether two selections chose the same rows, in the same words, by the same numbers.

    Their data sets may differ in bytes: a file that was written anew with the same rows is no news.
    """
    ours, theirs = known.inputs, now.inputs
    tables = [(ours.selection, theirs.selection), (ours.ranking, theirs.ranking)]
    if ours.pairs and theirs.pairs:
        tables.append((ours.pairs, theirs.pairs))
    return all(
        one.key == other.key or _is_same_table(one.open(store), other.open(store))
        for one, other in tables
    )


def _is_same_table(one: Artifact, other: Artifact) -> bool:
    """Tell whether two artifacts have the same rows, however each is cut into shards."""
    beside = RowReader(other)
    return one.rows == other.rows and all(
        beside.span(start, start + frame.height).equals(frame)
        for start, frame in numbered_frames(one)
    )


def changes(store: Store, known: KnownSelection, raw: Ref, arrived: Ref) -> dict[str, int]:
    """Count the rows that came (or came back) and those that are gone since the base."""
    now = KnownRows([raw.open(store)], ["instruction_id"])
    then = known.inputs.instructions.open(store)
    gone = sum(
        int((now.places(frame["instruction_id"], start) < 0).sum())
        for start, frame in numbered_frames(then, ["instruction_id"])
    )
    back = raw.rows - arrived.rows - (then.rows - gone)
    return {"new": arrived.rows, "back": back, "gone": gone}


def made_record(
    config: ReselectConfig,
    base: BaseSelection | None,
    now: SelectionRun,
    rows: dict[str, int],
    new: Mapping[str, Ref],
) -> SelectionRecord:
    """Return the record of a selection.

    Args:
        config: as it was given, its crowd read.
        base: what it goes on from, None for a first selection.
        now: what was chosen.
        rows: the counts that the record tells.
        new: frozen: the tables of the rows that arrived, by role.
    """
    artifacts = {role: name_of(ref) for role, ref in now.inputs.refs().items()}
    artifacts |= {"raw": name_of(now.raw), "dataset": name_of(now.dataset)}
    mode: Mode = "refit"
    if base is None or config.mode == "refit":
        references = {role: n for role, n in artifacts.items() if role in REFERENCES}
        parts = {role: [name] for role, name in artifacts.items() if role in PARTS}
    else:
        mode, references = "frozen", dict(base.record.references)
        parts = {role: list(names) for role, names in base.record.parts.items()}
        for role, names in parts.items():
            names += [name_of(new[role])] if role in new else []
    return SelectionRecord(
        mode=mode,
        base=base.number if base else None,
        measures=as_json(measures(config)),
        config=as_json(told(config)),
        rows=rows,
        artifacts=artifacts,
        references=references,
        parts=parts,
        zoos=[name_of(ref) for ref in now.zoos],
    )


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value as JSON gives it back: tuples become lists."""
    found: dict[str, Any] = json.loads(canonical(value))
    return found
