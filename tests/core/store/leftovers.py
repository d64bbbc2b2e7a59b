"""What a killed build leaves, and how the tests of garbage look at what they found."""

import time

import pytest
from numbers_stage import SPEC, Work

from crowdselect_core.store.admin.gc import Garbage
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.build import build
from crowdselect_core.store.identity import Spec

LATER = 100.0


def soon() -> float:
    """A moment after everything that is there was written, whatever the server's clock rounds."""
    return time.time() + LATER


def told(found: list[Garbage]) -> list[tuple[str, str, int]]:
    return [(g.why, g.name, len(g.files)) for g in found]


def leave(store: Store, spec: Spec = SPEC, shards: int = 3) -> None:
    """Leave what a build leaves that is killed after some shards."""

    def die(index: int) -> None:
        if index == shards:
            raise KeyError(index)

    with pytest.raises(KeyError):
        build(store, spec, Work(before=die).plan)
