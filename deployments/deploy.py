"""Register the flows with the Prefect server of PREFECT_API_URL: `python -m deployments.deploy`.

Makes the process work pool and the limits that protect GPUs and endpoints where they are absent,
then the deployments of prefect.yaml. Limits that somebody has set stay, but for what a flag names.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
POOL = "crowdselect"
ENDPOINTS = 4  # models of endpoints that are asked at once, over all runs of a server


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
        limits = prepare(wanted)
    except (ValueError, OSError) as e:
        return _refused(str(e))
    except Exception as e:
        if type(e).__module__.split(".")[0] not in ("httpx", "prefect"):
            raise
        return _refused(
            f"the Prefect server at {urlsplit(url).hostname} (PREFECT_API_URL) does not answer as "
            f"one ({type(e).__name__}); start it, or name another"
        )
    for name, limit in sorted(limits.items()):
        print(f"limit {name}: {limit} at once")
    return register(HERE / "prefect.yaml")


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
    from crowdselect_core.generate.devices import visible_gpus

    return {"gpu": max(1, len(visible_gpus())), "engine-openai": ENDPOINTS}


def register(
    file: Path, environment: dict[str, str] | None = None, log: IO[bytes] | None = None
) -> int:
    """Register the deployments of a prefect.yaml; return Prefect's exit status.

    Args:
        file: the prefect.yaml.
        environment: of `prefect deploy`; ours without one.
        log: where its output goes; to ours without one.
    """
    words = ["prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)  # noqa: S603
    return done.returncode


def parameters(name: str, values: dict[str, Any]) -> None:
    """Give a deployment (FLOW/NAME) the parameters that Quick run takes."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentUpdate

    with get_client(sync_client=True) as client:
        there = client.read_deployment_by_name(name)
        client.update_deployment(there.id, DeploymentUpdate(parameters=values))


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
