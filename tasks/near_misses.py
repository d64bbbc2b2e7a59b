"""What the log says of a stage that is not in the store: how the closest artifact differs.

A run that was expected to find its stages in the store shows thus which key was changed. The cells
of an experiment differ from each other by design: there only the first look for each stage is
explained. In a new store it has no neighbour; in a store that an earlier grid has filled it shows
what was changed since.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec

log = logging.getLogger("crowdselect")

# Stages that were looked for; None: each look is explained. Threads of cells share the set.
_looked_for: ContextVar[set[str] | None] = ContextVar("stages_looked_for", default=None)


@contextmanager
def first_of_each_stage() -> Iterator[None]:
    """Explain only the first look for each stage while the block runs."""
    before = _looked_for.set(set())
    try:
        yield
    finally:
        _looked_for.reset(before)


def find(store: Store, spec: Spec, name: str | None = None) -> Artifact | None:
    """Return the artifact of a spec; where there is none, log what the closest one differs in.

    Args:
        store: where it is looked for.
        spec: of the artifact.
        name: of the stage in the log, where it is not the one of its folder.
    """
    found, looked_for = store.find(spec), _looked_for.get()
    explained = looked_for is None or spec.stage not in looked_for
    if looked_for is not None:
        looked_for.add(spec.stage)
    if found is None and explained and (missed := store.nearest_miss(spec)):
        log.info("%-13s not in the store; the closest differs in %s", name or spec.stage, missed)
    return found
