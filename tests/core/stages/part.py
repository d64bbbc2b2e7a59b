"""Parts of stages in a process of its own, from texts alone: part.py ROOT, a list of JSON on stdin.

Each entry names a stage, its config and inputs as JSON, the artifact's folder and an index. The
shard of that index is removed, computed and written anew; its name is printed.
"""

import json
import sys
from pathlib import Path

from crowdselect_core.stages.graph import finish
from crowdselect_core.store.executors.base import Job


def main() -> None:
    """Make the shards that stdin asks for."""
    root = sys.argv[1]
    for entry in json.load(sys.stdin):
        folder, index = entry["folder"], entry["index"]
        for path in (Path(root) / folder).glob(f"part-{index:05d}-*"):
            path.unlink()
        job = Job(entry["stage"], entry["config"], entry["inputs"])
        shard, _ = finish(job, root, folder, index, ())
        print(shard.name)


if __name__ == "__main__":
    main()
