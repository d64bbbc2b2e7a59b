"""What a reselection with 1 % new rows costs beside the full run: rows computed, requests made.

    python -m benchmarks.reselect [--rows 2000] [--share 0.01]

A live crowd of two models behind the test endpoint and a scoring function; `flows.reselect` runs as
a user runs it, against a Prefect server of its own: once over all rows, then again after a file
with new rows has arrived, in mode frozen and, from a copy of the first store, in mode refit.

Rows computed are those of the artifacts that a run adds to the store: of `instructions` those of
files that were not there before, and none of the tables that only lay known rows out again
(joined, arrivals, active, zoos). The requests are counted by the endpoint.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from benchmarks.generation import endpoint, text
from benchmarks.measure import machine

TARGET = 0.05
COPIED = {"arrivals", "active", "zoos"}
CHECKS = """
def words(prompts, completions, **columns):
    return [float(len(completions[0][0]["content"]))]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.01)
    args = parser.parse_args()
    print(machine("prefect", "polars"))
    with tempfile.TemporaryDirectory() as name, endpoint("--requests", f"{name}/asked") as url:
        folder, asked = Path(name) / "work", Path(name) / "asked"
        prepare(folder, url)
        new = max(1, round(args.rows * args.share))
        write(folder, "a", range(args.rows))
        full = cost(folder, asked)
        shutil.copytree(folder / "store", folder / "first")
        write(folder, "b", range(args.rows, args.rows + new))
        print(f"full run of {args.rows:,} rows: {told(full)}")
        frozen = cost(folder, asked)
        shutil.rmtree(folder / "store")
        (folder / "first").rename(folder / "store")
        refit = cost(folder, asked, "--mode", "refit")
        for mode, found in (("frozen", frozen), ("refit", refit)):
            rows = found["rows"] / full["rows"]
            requests = found["requests"] / full["requests"]
            print(
                f"{mode}, {new:,} new rows: {told(found)}: {rows:.2%} of the rows, {requests:.2%} "
                "of the requests" + (f" (target {TARGET:.0%})" if mode == "frozen" else "")
            )


def prepare(folder: Path, url: str) -> None:
    """Write the config and the reward function."""
    (folder / "data").mkdir(parents=True)
    (folder / "my_checks.py").write_text(CHECKS)
    engine = {"kind": "openai", "base_url": url, "concurrency": 32}
    names = (("a", 1), ("b", 2))
    config = {
        "dataset": "data",
        "crowd": [{"name": n, "family": "f", "size": s, "engine": engine} for n, s in names],
        "reward_models": [{"name": "words", "kind": "function", "path": "my_checks:words"}],
        "budget": 100, "store": "store", "out": "out",
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def write(folder: Path, name: str, rows: range) -> None:
    """Let a file arrive."""
    lines = [json.dumps({"instruction": text(row)}) + "\n" for row in rows]
    (folder / "data" / f"{name}.jsonl").write_text("".join(lines))


def cost(folder: Path, asked: Path, *flags: str) -> dict[str, Any]:
    """Run `flows.reselect` and count what it computed and asked for."""
    before, requests = manifests(folder / "store"), lines(asked)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "PREFECT_HOME": str(folder / "home"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "flows.reselect", "--config", "config.yaml", *flags],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if ended.returncode:
        raise SystemExit(ended.stderr)
    known = {f[0] for m in before.values() for f in m["facts"].get("files", [])}
    rows: Counter[str] = Counter()
    for key, manifest in manifests(folder / "store").items():
        if key not in before and not is_copied(manifest):
            rows[manifest["stage"]] += computed(manifest, known)
    return {"rows": rows.total(), "requests": lines(asked) - requests, "of": dict(rows)}


def manifests(store: Path) -> dict[str, dict[str, Any]]:
    """Return every manifest of a store by its folder."""
    return {str(p.parent): json.loads(p.read_text()) for p in store.glob("*/*/manifest.json")}


def is_copied(manifest: dict[str, Any]) -> bool:
    """Tell a table that lays known rows out from one whose rows were computed."""
    return manifest["stage"] in COPIED or bool(manifest["identity"].get("joined"))


def computed(manifest: dict[str, Any], known: set[str]) -> int:
    """Return the rows of an artifact without those of files that were known before."""
    files = manifest["facts"].get("files")
    if files is None:
        return int(manifest["rows"])
    return sum(int(rows) for digest, rows in files if digest not in known)


def lines(path: Path) -> int:
    """Return how many requests the endpoint has noted."""
    return len(path.read_text().splitlines()) if path.exists() else 0


def told(found: dict[str, Any]) -> str:
    """Say what a run computed and asked for."""
    return f"{found['rows']:,} rows computed, {found['requests']:,} requests"


if __name__ == "__main__":
    main()
