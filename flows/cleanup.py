"""The sweep: marks runs whose process died as Crashed and frees their concurrency slots.

After a kill -9, an out-of-memory kill or the loss of a machine a run stays Running. The deployment
starts a sweep when a heartbeat is missing, and every ten minutes.

Deploy it as `flows.cleanup.sweep`.
"""

from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from pydantic import Field

from tasks import cleanup as tasks
from tasks.cleanup import log
from tasks.logs import connected


@flow(name="sweep", persist_result=False)
def sweep(
    silence: float = Field(
        75,
        ge=40,
        description="Seconds without a heartbeat, of which a run sends one every 30 seconds, after "
        "which a run counts as dead",
        examples=[75],
    ),
    pending: float = Field(
        30,
        ge=1,
        description="Minutes after which a run that a worker took and never started is dead; more "
        "than the start of a container takes",
        examples=[30],
    ),
    uploads: float = Field(
        24,
        ge=1,
        description="Hours after which an upload to the bucket of a crashed run is given up; more "
        "than the longest upload takes",
        examples=[24],
    ),
) -> list[str]:
    """Mark runs whose process died as Crashed, and free their slots.

    Args:
        silence: seconds without a heartbeat after which a run is dead.
        pending: minutes after which a run that never started is dead.
        uploads: hours after which a half-done upload is aborted.
    """
    own = UUID(flow_run.id) if flow_run.id else None
    dead: list[str] = []
    with connected(), get_client(sync_client=True) as client:
        watched = tasks.suspects(client, silence, own)
        log.info("sweep         %d runs without a recent heartbeat are watched", len(watched))
        never = [(r, "it was never started: its worker died") for r in tasks.stuck(client, pending)]
        gone = [(r, "no heartbeat: its process died") for r in tasks.silent(client, watched)]
        for run, why in never + gone:
            if tasks.crash(client, run, why):
                log.warning("sweep         %s: Crashed, %s", run.name, why)
                dead.append(str(run.id))
        for place in tasks.places(client):
            if aborted := tasks.abort_uploads(place, uploads):
                log.warning("sweep         %d unfinished uploads of %s aborted", aborted, place)
    return dead
