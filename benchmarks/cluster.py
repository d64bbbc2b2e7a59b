"""What Ray costs a part, and how parts spread over 1, 2 and 4 workers, beside as many threads.

    python -m benchmarks.cluster [--rows 40000] [--parts 40] [--workers 1 2 4]

For each number a cluster of one node with so many CPUs is started on this machine, on loopback. The
stage `metrics` has parts of milliseconds: what the first number of workers takes beyond as many
threads is the overhead. The stage `clusters` (assignment to 100 centres, width 384) has parts that
compute. Both are computed once before, so that the workers are there. Then it is told what 1, 8 and
64 nodes come to on paper.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.selection import REWARD, make_zoo
from crowdselect_core.cluster.executor import executor_of
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import How, InProcess, Stage
from crowdselect_core.stages.graph import (
    CENTERS,
    CLUSTERS,
    EMBEDDINGS,
    INSTRUCTIONS,
    METRICS,
    SCORES,
)
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store

HEAD = "127.0.0.2"  # Ray takes 127.0.0.1 for the address of the network
UP = 600.0  # seconds to start a node on a busy machine
PER_NODE = 8  # workers of a node, on paper


@contextmanager
def cluster(cpus: int) -> Iterator[str]:
    """Start a node of so many CPUs, and yield its address."""
    with socket.socket() as probe:
        probe.bind((HEAD, 0))
        port = probe.getsockname()[1]
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
           "RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}  # fmt: skip
    os.environ.update(own)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        log = Path(folder, "log")
        argv = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
                f"--node-ip-address={HEAD}", f"--port={port}", f"--num-cpus={cpus}",
                f"--object-store-memory={80 << 20}", f"--temp-dir={folder}",
                "--include-dashboard=false", "--disable-usage-stats"]  # fmt: skip
        with log.open("wb") as file:
            node = subprocess.Popen(argv, stdout=file, stderr=file, start_new_session=True)
        try:
            end = time.monotonic() + UP
            while b"Ray runtime started" not in log.read_bytes():
                assert node.poll() is None, log.read_text()
                assert time.monotonic() < end, "no Ray node came up"
                time.sleep(0.2)
            yield f"{HEAD}:{port}"
        finally:
            node.terminate()  # it ends the processes of the node
            node.wait()


def seconds(config: SelectConfig, stage: Stage[Any], *inputs: Ref) -> float:
    """Return how long a stage takes to be computed anew."""
    store = Store(config.store)
    spec = stage.spec(config, *inputs)
    store.forget(spec.stage, spec.key)
    how = How(executor=executor_of(config, lambda: None))
    start = time.perf_counter()
    stage.build(store, spec, how, config, *inputs)
    return time.perf_counter() - start


def measured(config: SelectConfig) -> tuple[float, float]:
    """Return the seconds of `metrics` and `clusters`, the second time they are computed."""
    run = InProcess(Store(config.store))
    listed = run(INSTRUCTIONS, config)
    scores, vectors = run(SCORES, config, listed), run(EMBEDDINGS, config, listed)
    centers = run(CENTERS, config, vectors)
    for _ in range(2):
        taken = seconds(config, METRICS, scores), seconds(config, CLUSTERS, vectors, centers)
    return taken


def on_paper(part: float, overhead: float) -> list[str]:
    """Say what 2,000 parts would take on 1, 8 and 64 nodes; the driver hands them out one by one.

    seconds = max(2,000 x overhead, ceil(2,000 / workers) x part)
    """
    lines = []
    for length in (part, 10.0, 60.0):
        times = []
        for nodes in (1, 8, 64):
            workers = nodes * PER_NODE
            taken = max(2000 * overhead, -(-2000 // workers) * length)
            times.append(f"{nodes:>2} nodes {taken:>8,.0f} s")
        most = f"at most {length / overhead:,.0f} workers are busy"
        lines.append(f"2,000 parts of {length:6.2f} s: {', '.join(times)}; {most}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--parts", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--child", help="one measurement, of the config in this file")
    args = parser.parse_args()
    if args.child:  # a process is connected to one cluster
        config = SelectConfig.model_validate_json(Path(args.child).read_text("utf-8"))
        print(*measured(config))
        return
    print(machine("polars", "numpy", "ray"))
    with tempfile.TemporaryDirectory() as folder:
        each = -(-args.rows // args.parts)
        # A part is never less than a row group.
        make_zoo(Path(folder, "zoo.parquet"), args.rows, width=384, row_group=each)
        given = {
            "dataset": f"{folder}/zoo.parquet", "reward_models": [REWARD], "clusters": 100,
            "embedder": "column:vector", "shard_rows": each,
        }  # fmt: skip

        def child(name: str, **keys: Any) -> tuple[float, float]:
            config = SelectConfig.model_validate(
                {**given, "store": f"{folder}/store-{name}", **keys}
            ).resolved()
            path = Path(folder, f"{name}.json")
            path.write_text(config.model_dump_json(), "utf-8")
            argv = [sys.executable, "-m", "benchmarks.cluster", "--child", str(path)]
            done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
            metrics, clusters = map(float, done.stdout.split())
            print(f"{name:<12} metrics {metrics:6.2f} s   clusters {clusters:6.2f} s", flush=True)
            return metrics, clusters

        part = overhead = 0.0
        for count in args.workers:
            threads = child(f"threads-{count}", workers=count)
            with cluster(count) as address:
                taken = child(f"ray-{count}", executor={"kind": "ray", "address": address})
            if count == args.workers[0]:
                overhead = (taken[0] - threads[0]) / args.parts
                part = count * threads[1] / args.parts
        print(f"overhead of Ray: {overhead * 1000:.1f} ms a part")
        if overhead <= 0:
            sys.exit("the machine was too busy to tell the overhead: run again, with more --parts")
        print(*on_paper(part, overhead), sep="\n")


if __name__ == "__main__":
    main()
