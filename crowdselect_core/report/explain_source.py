"""The selection that `--explain` and `--push-to` read: of OUT, or of the store by its config.

Nothing is computed: where something is missing, the message names the command that makes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from crowdselect_core.config.load import SAMPLE
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, DamagedArtifact
from crowdselect_core.export.selection_files import MANIFEST, read_manifest
from crowdselect_core.ingest.stored_zoo import is_artifact
from crowdselect_core.planning.missing_work import find_missing
from crowdselect_core.planning.stored_lookup import StoredLookup
from crowdselect_core.reselection.record import SelectionRun
from crowdselect_core.stages.base import P, Runner, Stage
from crowdselect_core.stages.crowd.zoo import dataset_of
from crowdselect_core.stages.refs import Ref, SelectionArtifacts
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.urls import shown_path

# Keys that change no result, or that a run replaces by what it makes (a live crowd's zoo).
_ASIDE = {
    *("store", "out", "workers", "shard_rows", "credentials_block", "max_failure_rate", "export"),
    *("pairs", "figures", "push_to", "training", "evaluation", "crowd", "reward_models", "dataset"),
    *("limit", "heldout", "executor", "report", "experiment"),
}


class Story(Protocol):
    """The stages of a selection in their order, for whatever runs them."""

    def __call__(self, config: SelectConfig, *, run: Runner) -> SelectionRun:
        """Run the stages."""
        ...


@dataclass(frozen=True)
class FoundSelection:
    """A selection that exists.

    Args:
        config: that it was made with, of a live crowd with the zoo as its data set.
        store: where its artifacts are.
        inputs: its artifacts.
        place: where it was found, for a message.
    """

    config: SelectConfig
    store: Store
    inputs: SelectionArtifacts
    place: str


class NoSelection(ConfigError):
    """Neither OUT nor the store has the selection of a config."""


class NotStored(Exception):
    """A stage that the store has no artifact of."""


@dataclass(frozen=True)
class _InStore:
    """Takes every stage of a story from the store."""

    store: Store

    def __call__(
        self, stage: Stage[P], config: SelectConfig, /, *inputs: P.args, **named: P.kwargs
    ) -> Ref:
        """Return the stage's artifact."""
        found = self.store.find(stage.spec(config, *inputs, **named))
        if found is None:
            raise NotStored(stage.name)
        return Ref.of(found)


def find_selection(config: SelectConfig, story: Story) -> FoundSelection:
    """Return the selection of a config: that of OUT, or else what the store has by this config.

    OUT's counts if it is of this config: the same method, budget, crowd, ... and data set. Where no
    data set is named (the config is that of the embedded sample), OUT's counts whatever it is of.

    Args:
        config: resolved.
        story: the stages in their order.

    Raises:
        NoSelection: neither has it; the message says what is missing and which command makes it.
    """
    told = read_manifest(open_backend(config.out))
    there = _of_manifest(config, told) if told is not None else None
    different = _differences(config, there.config) if there else []
    if there and (not different or _is_unnamed(config, there.config)):
        return there
    try:
        return _of_store(config, story)
    except NotStored as missing:
        out = shown_path(config.out)
        has = f"{out} has none either"
        if different:
            has = f"that of {out} differs in {'; '.join(different[:3])}"
        elif told is not None:
            has = f"that of {out} is not readable by this version, or its store is another one"
        raise NoSelection(
            f"no selection of this config: the store {shown_path(config.store)} has no {missing}, "
            f"and {has}; run `python -m flows.select` with the same keys first, or name its --out "
            "and --store"
        ) from None


def _of_manifest(config: SelectConfig, told: Mapping[str, Any]) -> FoundSelection | None:
    """Return the selection that a manifest of OUT tells of; None where its artifacts are gone."""
    keys = {k: v for k, v in (told.get("config") or {}).items() if k in SelectConfig.model_fields}
    try:
        own = SelectConfig.model_validate(keys).resolved()
    except (ValidationError, ValueError):
        return None  # an older version wrote it
    for root in dict.fromkeys((config.store, own.store)):
        store = Store(root)
        refs: dict[str, Ref] = {}
        try:
            for role, name in told["artifacts"].items():
                if role in SelectionArtifacts.__dataclass_fields__:
                    stage, _, key = str(name).partition("/")
                    refs[role] = Ref.of(store.open(stage, key))
            inputs = SelectionArtifacts(**refs)
        except (DamagedArtifact, TypeError):
            continue
        at = own.model_copy(update={"store": root})
        place = f"{shown_path(config.out.rstrip('/'))}/{MANIFEST}"
        return FoundSelection(at, store, inputs, place)
    return None


def _of_store(config: SelectConfig, story: Story) -> FoundSelection:
    """Look every stage up by its key; of a live crowd the answers and scores first."""
    store, missing = Store(config.store), find_missing(config)
    whole = config
    if missing:
        zoo = StoredLookup(config, missing, store).zoo()
        if zoo is None:
            raise NotStored("answers and scores of the whole crowd")
        whole = dataset_of(config, zoo)
    run = story(whole, run=_InStore(store))
    return FoundSelection(run.config, store, run.inputs, f"the store {shown_path(config.store)}")


def _is_unnamed(config: SelectConfig, there: SelectConfig) -> bool:
    """Tell a command that names no data set, beside an OUT that is of another one."""
    sample = str(SAMPLE / "zoo.parquet")
    return config.dataset.path == sample and there.dataset.path != sample


def _differences(config: SelectConfig, there: SelectConfig) -> list[str]:
    """Say in which keys the selection of OUT is of another config."""
    wanted, found = config.model_dump(mode="json"), there.model_dump(mode="json")
    names = [n for n in SelectConfig.model_fields if n not in _ASIDE]
    different = [words for n in names for words in _unlike(n, found[n], wanted[n])]
    if [m.name for m in config.everyone] != [m.name for m in there.everyone]:
        different.append("crowd")
    if config.reward_names != there.reward_names:
        different.append("reward_models")
    missing = find_missing(config)
    if bool(missing) != is_artifact(there.dataset.path):
        different.append("dataset")
    elif missing:
        different += _zoo_differs(config, there)
    elif config.dataset != there.dataset or config.limit != there.limit:
        different.append("dataset or limit")
    return different


def _zoo_differs(config: SelectConfig, there: SelectConfig) -> list[str]:
    """Tell a zoo that was made of other prompts; that of a series is the joined ones."""
    root, stage, key = there.dataset.path.rsplit("/", 2)
    if stage != "zoo":
        return []
    prompts = StoredLookup(config, find_missing(config), Store(config.store)).prompts
    try:
        made_of = Store(root).open(stage, key).manifest.inputs.get("prompts")
    except DamagedArtifact:
        return ["dataset (its answers are gone from the store)"]
    return [] if made_of == prompts.key else ["dataset, limit or heldout"]


def _unlike(name: str, there: object, here: object) -> list[str]:
    """Say in what two values of a key differ; of mappings, by their own keys."""
    if there == here:
        return []
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        below = dict.fromkeys((*there, *here))
        return [w for k in below for w in _unlike(f"{name}.{k}", there.get(k), here.get(k))]
    return [f"{name} ({_short(there)} there, {_short(here)} here)"]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
