"""What Ray runs in a worker: it keeps to what the call takes of the node, then does the work.

It imports nothing at first, for libraries size their threads and look for GPUs when they are
imported.
"""

import os
from typing import Any

POOLS = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS")  # of polars, and of the tokenizers


def answer(asked: str) -> str:
    """Do what a request asks for; see `worker.answer`."""
    import ray

    hide_gpus(ray)
    size_pools(ray)
    from crowdselect_core.cluster import worker

    return worker.answer(asked)


def hide_gpus(ray: Any) -> None:
    """Hide the node's GPUs from work that takes none.

    Ray names the GPUs only to work that takes some, so that other work would see them all. The two
    run in different worker processes: what is hidden here is hidden from no later call that takes a
    GPU.

    Args:
        ray: the module, in a worker.
    """
    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def size_pools(ray: Any) -> None:
    """Have libraries start a thread for each CPU of the call, and not for each core of the node.

    Ray does so for OMP_NUM_THREADS. What the node's environment says stands. A pool is as large as
    the first call of its process wanted it.

    Args:
        ray: the module, in a worker.
    """
    cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    for name in POOLS:
        os.environ.setdefault(name, str(max(int(cpus), 1)))
