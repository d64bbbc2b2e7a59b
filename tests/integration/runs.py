"""What the tests of whole runs share: the flags, a finished run, the Prefect server's API."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from command import Result
from deployed import SECONDS, asked, recorded

SHARDS = 6
FLAGS = ["--budget", "30", "--clusters", "4", "--shard-rows", "40"]
# Paths are relative, so that manifests of runs in different folders are the same bytes.
PLACES = ["--store", "store", "--out", "out"]


@dataclass(frozen=True)
class Run:
    """A finished run and the folder it ran in."""

    folder: Path
    result: Result
    flow_run: dict[str, Any]


class Server:
    """The Prefect server as its UI sees it."""

    def __init__(self, api: str) -> None:
        self._client = httpx.Client(base_url=api, timeout=90, trust_env=False)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Call the API."""
        return asked(self._client, "POST", path, json=body).json()

    def get(self, path: str) -> Any:
        """Read from the API."""
        return asked(self._client, "GET", path).json()

    def latest(self) -> dict[str, Any]:
        """The flow run that was created last."""
        [run] = self.post("/flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})
        return dict(run)

    def flow_run(self, run: dict[str, Any]) -> dict[str, Any]:
        """A flow run as it is now."""
        return dict(self.get(f"/flow_runs/{run['id']}"))

    def tasks(self, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The task runs of a flow run that ended, by the task's name."""
        of_it, end = {"flow_runs": {"id": {"any_": [run["id"]]}}}, time.monotonic() + SECONDS
        while (found := recorded(self.post("/task_runs/filter", of_it))) is None:
            assert time.monotonic() < end, "Prefect did not record how the tasks ended"
            time.sleep(0.3)
        return {task["name"].rsplit("-", 1)[0]: task for task in found}

    def artifacts(self, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The artifacts of a flow run, by their key."""
        found = self.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        return {artifact["key"]: artifact for artifact in found}

    def lines(self, run: dict[str, Any]) -> list[str]:
        """The log of a flow run and its tasks, as the UI shows it."""
        logs = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
        return [line["message"] for line in self.post("/logs/filter", logs)]

    def make_secret(self, name: str, value: Any) -> None:
        """Make a Secret block, as the UI does."""
        kind = self.get("/block_types/slug/secret")
        wanted = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        schema = self.post("/block_schemas/filter", wanted)[0]
        body = {"name": name, "data": {"value": value},
                "block_type_id": kind["id"], "block_schema_id": schema["id"]}  # fmt: skip
        self.post("/block_documents/", body)

    def change_secret(self, name: str, value: Any) -> None:
        """Change what a Secret block holds, as the UI does."""
        found = self.get(f"/block_types/slug/secret/block_documents/name/{name}")
        kept = {"block_schema_id": found["block_schema_id"], "merge_existing_data": False}
        body = {"data": {"value": value}, **kept}
        asked(self._client, "PATCH", f"/block_documents/{found['id']}", json=body)

    def cancel(self, run: dict[str, Any]) -> None:
        """Do what the button Cancel does."""
        self.post(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
