"""Finds runs whose process died by their missing heartbeats.

A run of ours sends a heartbeat event every 30 seconds. One that sends none while the server is up
and the sweep watches it counts as dead. Clocks of different machines are not compared (but for runs
that no worker has started after many minutes). A time in which the server was down does not count.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import OrchestrationResult
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventResourceFilter,
)
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Crashed
from prefect.types._datetime import now

from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.urls import is_url

log = logging.getLogger("crowdselect")

FLOWS = [
    "select", "generate", "score", "finetune", "evaluate", "experiment", "experiment-cell",
    "reselect", "sweep",
]  # fmt: skip
TAG = "crowdselect"
PAGE = 200
LOOK_SECONDS = 3.0
MISSED = 2.5  # heartbeats that a run may miss, where it sends them more slowly than ours
AHEAD = timedelta(days=1)  # a worker's clock may be ahead of ours, and it dates its heartbeats
DOWN_SECONDS = 600.0  # a server that is away for longer ends the sweep


@dataclass
class Suspect:
    """A run that has sent no heartbeat since we looked first."""

    run: FlowRun
    heard: UUID | None  # the last heartbeat before that
    patience: float  # seconds of silence after which it is dead


def suspects(client: SyncPrefectClient, silence: float, own: UUID | None) -> list[Suspect]:
    """Return every run of ours that should be sending heartbeats."""
    types = [StateType.RUNNING, StateType.CANCELLING]
    runs = [run for run in _runs(client, types) if run.id != own]
    return [_suspect(client, run, silence) for run in runs]


def stuck(client: SyncPrefectClient, minutes: float) -> list[FlowRun]:
    """Return the runs that a worker took and never started: it died in between."""
    runs = _runs(client, [StateType.PENDING])
    age = {r.id: (now("UTC") - r.state.timestamp).total_seconds() for r in runs if r.state}
    return [run for run in runs if age.get(run.id, 0.0) > minutes * 60]


def silent(client: SyncPrefectClient, watched: list[Suspect]) -> list[FlowRun]:
    """Look on until every suspect has sent a heartbeat, has ended, or was silent for too long.

    Raises:
        httpx.HTTPError: the server was away for DOWN_SECONDS.
    """
    dead: list[FlowRun] = []
    begun = answered = time.monotonic()
    while watched:
        time.sleep(LOOK_SECONDS)
        try:
            watched = [s for s in watched if _is_silent(client, s)]
        except (httpx.HTTPError, PrefectHTTPStatusError):
            if time.monotonic() - answered > DOWN_SECONDS:
                raise
            begun = time.monotonic()  # what was sent meanwhile is lost: look on from here
            continue
        answered = time.monotonic()
        gone = [s for s in watched if answered - begun > s.patience]
        dead += [s.run for s in gone]
        watched = [s for s in watched if s not in gone]
    return dead


def crash(client: SyncPrefectClient, run: FlowRun, why: str) -> bool:
    """Mark a run and its tasks as crashed, which frees the run's slots; tell whether it was done.

    A run that has ended meanwhile keeps its state.
    """
    told: OrchestrationResult[Any] = client.set_flow_run_state(run.id, Crashed(message=why))
    if told.state is None or not told.state.is_crashed():
        return False
    types = [StateType.RUNNING, StateType.PENDING]
    left = client.read_task_runs(
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
        task_run_filter=TaskRunFilter(
            state=TaskRunFilterState(type=TaskRunFilterStateType(any_=types))
        ),
    )
    for task in left:
        client.set_task_run_state(task.id, Crashed(message=why), force=True)
    return True


def places(client: SyncPrefectClient) -> list[str]:
    """Return the stores and OUTs in buckets of our runs that have crashed."""
    return places_of(run.parameters for run in _runs(client, [StateType.CRASHED]))


def places_of(parameters: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the stores and OUTs in buckets that runs were given, each once."""
    configs = [p.get("config") for p in parameters]
    named = [c.get(n) for c in configs if isinstance(c, Mapping) for n in ("store", "out")]
    return sorted({name for name in named if isinstance(name, str) and is_url(name)})


def abort_uploads(url: str, hours: float) -> int:
    """Abort uploads that were begun so long ago and never ended; return how many.

    A bucket that the credentials of the environment cannot reach is logged and skipped.
    """
    try:
        place = open_backend(url)
        old = [u for u in place.uploads() if u.begun < time.time() - hours * 3600]
        for upload in old:
            place.abort(upload)
    except (StorageError, ConfigError) as e:
        log.warning("sweep         uploads were not aborted: %s", e)
        return 0
    return len(old)


def _runs(client: SyncPrefectClient, types: list[StateType]) -> list[FlowRun]:
    """Return the runs of our commands and deployments; other flows may have the names of ours."""
    found: list[FlowRun] = []
    while True:
        page = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=FLOWS)),
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)),
                tags=FlowRunFilterTags(all_=[TAG]),
            ),
            limit=PAGE,
            offset=len(found),
        )
        found += page
        if len(page) < PAGE:
            return found


def _suspect(client: SyncPrefectClient, run: FlowRun, silence: float) -> Suspect:
    heard = client.read_events(_heartbeats(run), limit=2).events
    gap = abs((heard[0].occurred - heard[1].occurred).total_seconds()) if len(heard) > 1 else 0.0
    return Suspect(run, heard[0].id if heard else None, max(silence, MISSED * gap))


def _is_silent(client: SyncPrefectClient, suspect: Suspect) -> bool:
    state = client.read_flow_run(suspect.run.id).state
    if state is None or state.type not in (StateType.RUNNING, StateType.CANCELLING):
        return False
    heard = client.read_events(_heartbeats(suspect.run), limit=1).events
    return (heard[0].id if heard else None) == suspect.heard


def _heartbeats(run: FlowRun) -> EventFilter:
    return EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        occurred=EventOccurredFilter(until=now("UTC") + AHEAD),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
