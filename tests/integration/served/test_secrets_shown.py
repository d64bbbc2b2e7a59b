"""After a run with marked credentials they stand in no log, file, artifact or row of the database.

The object store's keys come from the environment of the worker, the endpoint's from a Secret block
of Prefect; the endpoint repeats the Authorization header in its errors, as careless proxies do.
"""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import ROOT, read
from deployed import KEYS, Deployed
from endpoints import model, serving, write_work
from servers import quiet_environment

pytestmark = pytest.mark.server

BLOCK_KEY = "MARKEDblockSECRET"
MARKS = [BLOCK_KEY, *KEYS.values()]


def make_block(server: Deployed) -> None:
    """Make a Secret block, as the UI does."""
    kind = server.get("/block_types/slug/secret")
    wanted = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
    schema = server.post("/block_schemas/filter", wanted)[0]
    body = {"name": "marked", "data": {"value": BLOCK_KEY},
            "block_type_id": kind["id"], "block_schema_id": schema["id"]}  # fmt: skip
    server.post("/block_documents/", body)


def in_database(file: Path) -> list[str]:
    """Every place of the database that has a mark."""
    found = []
    with sqlite3.connect(file, timeout=60) as database:
        tables = [
            r[0] for r in database.execute("select name from sqlite_master where type='table'")
        ]
        for table in tables:
            for row in database.execute(f'select * from "{table}"'):  # noqa: S608 - its own names
                text = repr(row)
                found += [f"{table}: {mark}" for mark in MARKS if mark in text]
    assert len(tables) > 20
    return found


def in_files(folder: Path) -> list[str]:
    """Every file that has a mark."""
    files = list(read(folder))
    assert len(files) > 20
    marks = [mark.encode() for mark in MARKS]
    return [str(path) for path, data in files if any(m in data for m in marks)]


def in_bucket(server: Deployed) -> list[str]:
    """Every object that has a mark."""
    bucket = server.file_system()
    names = bucket.find("crowdselect/secrets")
    assert names
    return [n for n in names if any(m.encode() in bucket.cat_file(n) for m in MARKS)]


def test_marked_credentials_are_found_nowhere(served: Deployed, tmp_path: Path) -> None:
    make_block(served)
    faults = ("--require-key", BLOCK_KEY, "--fault", "500=0.2")
    with serving(tmp_path / "endpoint", *faults) as endpoint:
        engine = {"base_url": [endpoint.url], "api_key_block": "marked", "max_retries": 4}
        path = write_work(tmp_path / "work", 20, [model("a", 1, endpoint.url, engine=engine)])
        config: dict[str, Any] = yaml.safe_load(path.read_text())
        del config["reward_models"]  # a function, which a deployment does not run
        config |= {n: f"s3://crowdselect/secrets/{n}" for n in ("store", "out")}
        config["dataset"] = {"path": str(path.parent / config["dataset"])}
        run = served.ended(served.run("generate/generate", config=config))
        assert run["state"]["type"] == "COMPLETED"
        assert endpoint.asked
    assert in_bucket(served) == []
    assert in_files(served.state) == []
    assert in_database(served.state / "prefect" / "prefect.db") == []


def test_a_run_takes_the_key_that_a_block_holds_now(served: Deployed, tmp_path: Path) -> None:
    paths = (ROOT, ROOT / "tests/core/generate", Path(__file__).parent)
    environment = quiet_environment(tmp_path) | {
        "PREFECT_API_URL": served.api, "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "renewing_run", "MARKEDrenewNEW"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = ran.stdout + ran.stderr
    assert "failed: []" in said, said
    assert said.count("going on with a new one from") == 1
    assert "MARKEDrenew" not in said
