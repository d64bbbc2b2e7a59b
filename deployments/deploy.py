"""Register the flows with the Prefect server of PREFECT_API_URL: `python -m deployments.deploy`.

Makes the process work pool and the limits that protect GPUs and endpoints where they are absent,
then the deployments of prefect.yaml. What somebody has set stays: a deployment's parameters and
schedules, whether it is paused, whether a trigger is on; limits, but for what a flag names.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

HERE = Path(__file__).parent
POOL = "crowdselect"
ENDPOINTS = 4  # models of endpoints that are asked at once, over all runs of a server


class NotRegistered(RuntimeError):
    """Prefect did not make the deployments; what it printed says why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Register everything; return the exit status."""
    args = _parser().parse_args(argv)
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return _refused(
            "PREFECT_API_URL is not set; expected the address of a Prefect server, such as "
            "http://127.0.0.1:4200/api ('make server' starts one)"
        )
    try:
        wanted = dict(_limit(text) for text in args.limit)
        for name, limit in sorted(prepare(wanted).items()):
            print(f"limit {name}: {limit} at once", flush=True)
        refused = register(HERE / "prefect.yaml")
    except NotRegistered as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as e:
        return _refused(str(e))
    except Exception as e:
        if type(e).__module__.split(".")[0] not in ("httpx", "prefect"):
            raise
        return _refused(
            f"the Prefect server at {urlsplit(url).hostname} (PREFECT_API_URL) does not answer as "
            f"one ({type(e).__name__}); start it, or name another"
        )
    for line in refused:
        print(f"error: {line}", file=sys.stderr)
    return 2 if refused else 0


def prepare(wanted: dict[str, int]) -> dict[str, int]:
    """Make the work pool and the limits where they are absent; return the limits that hold.

    Args:
        wanted: limits by tag that are set whatever the server has.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    held: dict[str, int] = {}
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
        for tag, limit in (defaults() | wanted).items():
            name = f"tag:{tag}"  # how the tasks' engine names the limit of a tag
            try:
                there = client.read_global_concurrency_limit_by_name(name)
            except ObjectNotFound:
                client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=name, limit=limit)
                )
                held[tag] = limit
                continue
            if tag in wanted and there.limit != limit:
                client.upsert_global_concurrency_limit_by_name(name, limit)
                held[tag] = limit
            else:
                held[tag] = there.limit
    return held


def defaults() -> dict[str, int]:
    """Return the limits of a fresh server: as many models at once as this machine has GPUs."""
    from crowdselect_core.models.devices import visible_gpus

    return {"gpu": max(1, len(visible_gpus())), "engine-openai": ENDPOINTS}


def register(
    file: Path,
    given: Mapping[str, dict[str, Any]] | None = None,
    environment: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
) -> list[str]:
    """Make the deployments of a prefect.yaml that are absent, and bring the others up to date.

    `prefect deploy` puts the file's parameters and schedules in the place of what a team has set.
    So it sees new deployments alone, and nothing is taken away that a kill could lose.

    Args:
        file: the prefect.yaml.
        given: parameters of new deployments by name, in the place of the file's.
        environment: of `prefect deploy`; ours without one.
        log: where its output goes; to ours without one.

    Returns:
        A line for each deployment that was left as it was, as its parameters fit no longer.

    Raises:
        NotRegistered: `prefect deploy` failed.
    """
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    os.environ["PWD"] = str(Path.cwd())  # the file says that runs work there
    told = yaml.safe_load(file.read_text("utf-8"))
    absent: list[dict[str, Any]] = []
    refused: list[str] = []
    with get_client(sync_client=True) as client:
        for one in told["deployments"]:
            try:
                there = client.read_deployment_by_name(f"{one['name']}/{one['name']}")
            except ObjectNotFound:
                values = (given or {}).get(one["name"], one["parameters"])
                absent.append(one | {"parameters": values})
                continue
            if why := _update(client, there, one):
                refused.append(why)
    if absent:
        _create(told | {"deployments": absent}, environment, log)
    return refused


def _create(
    told: dict[str, Any], environment: Mapping[str, str] | None, log: IO[bytes] | None
) -> None:
    """Have `prefect deploy` make the deployments of what a prefect.yaml holds."""
    env = dict(environment or os.environ) | {"PWD": str(Path.cwd())}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(told), "utf-8")
        words = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, env=env, stdout=log, stderr=log, check=False)  # noqa: S603
    if done.returncode:
        raise NotRegistered(f"prefect deploy ended with {done.returncode}")


def _update(
    client: "SyncPrefectClient", there: "DeploymentResponse", one: dict[str, Any]
) -> str | None:
    """Bring all of a deployment up to date but what a team sets; return why it cannot be.

    What is left out of the request (parameters, schedules, paused) stays on the server.
    """
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.client.schemas.objects import ConcurrencyOptions
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.flows import load_flow_from_entrypoint
    from prefect.utilities.templating import apply_values

    limit = dict(one["concurrency_limit"])
    schema = load_flow_from_entrypoint(one["entrypoint"]).parameters
    update = DeploymentUpdate(
        description=one["description"],
        tags=one["tags"],
        entrypoint=one["entrypoint"],
        work_pool_name=one["work_pool"]["name"],
        job_variables=apply_values(one["work_pool"]["job_variables"], dict(os.environ)),
        concurrency_limit=limit.pop("limit"),
        concurrency_options=ConcurrencyOptions.model_validate(limit),
        parameter_openapi_schema=schema.model_dump(exclude_unset=True),
    )
    try:
        client.update_deployment(there.id, update)
    except PrefectHTTPStatusError as e:
        if e.response.status_code != 409:
            raise
        return (
            f"deployment {one['name']}: its parameters do not fit this version, so it was left as "
            f"it was; change them in the UI and deploy again, or delete the deployment "
            f"({' '.join(str(e.response.json().get('detail')).split())})"
        )
    _renew_triggers(client, there, one.get("triggers", []))
    return None


def _renew_triggers(
    client: "SyncPrefectClient", there: "DeploymentResponse", triggers: list[dict[str, Any]]
) -> None:
    """Bring the triggers of a deployment up to date; one that somebody has turned off stays off.

    Each is changed where it is, and what is too many goes last: a kill loses none.
    """
    from prefect.events import DeploymentTriggerTypes
    from prefect.events.schemas.automations import AutomationCore
    from pydantic import TypeAdapter

    found = client.read_resource_related_automations(f"prefect.deployment.{there.id}")
    for trigger in triggers:
        same = [a for a in found if a.name == trigger["name"]]
        on = {"enabled": all(a.enabled for a in same)}
        made: Any = TypeAdapter(DeploymentTriggerTypes).validate_python(trigger | on)
        made.set_deployment_id(there.id)
        core = made.as_automation()
        if same:  # whose it is stays, and an update may not name it
            told = {name: getattr(core, name) for name in core.model_fields_set}
            told.pop("owner_resource")
            client.update_automation(same[0].id, AutomationCore(**told))
        else:
            client.create_automation(core)
        for surplus in same[1:]:
            client.delete_automation(surplus.id)


def _limit(text: str) -> tuple[str, int]:
    tag, _, number = text.partition("=")
    if not tag or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"--limit {text!r}: expected TAG=N with N of 1 or more, e.g. gpu=8")
    return tag, int(number)


def _refused(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m deployments.deploy", description=__doc__)
    made.add_argument(
        "--limit", metavar="TAG=N", action="append", default=[],
        help="set how many tasks of a tag (gpu, engine-openai, engine-vllm, ...) run at once",
    )  # fmt: skip
    return made


if __name__ == "__main__":
    sys.exit(main())
