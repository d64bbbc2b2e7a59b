"""Which of this machine's GPUs a local model gets, and that models that do not fit wait.

Without a GPU local models run one after the other: two would only share the same cores and memory.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition

from crowdselect_core.errors import ConfigError
from crowdselect_core.util.text import excerpt, plain

log = logging.getLogger("crowdselect")


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use: CUDA_VISIBLE_DEVICES, else all there are.

    A driver that does not answer gives none, with a warning.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [d.strip() for d in visible.split(",") if d.strip() and d.strip() != "-1"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        told = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True, text=True, errors="replace", timeout=30, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as e:
        why = "gives no answer in 30 s" if isinstance(e, subprocess.TimeoutExpired) else str(e)
        return _none(tool, why)
    if told.returncode != 0:
        # It says what is wrong on stdout, others do on stderr.
        first = next(iter([*told.stdout.splitlines(), *told.stderr.splitlines()]), "says nothing")
        return _none(tool, f"ended with {told.returncode}: {excerpt(plain(first))}")
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def _none(tool: str, why: str) -> list[str]:
    log.warning(
        "%s %s; so no GPU is used: mend the driver, or name the GPUs in CUDA_VISIBLE_DEVICES "
        "(empty: none)", tool, why,
    )  # fmt: skip
    return []


def torch_device(gpus: Sequence[str]) -> str | None:
    """Return torch's name of the first of the GPUs that were lent, None without any."""
    return f"cuda:{visible_gpus().index(gpus[0])}" if gpus else None


class Devices:
    """The GPUs of this process, lent to local models. Without any, one slot: the processor."""

    def __init__(self, gpus: list[str]) -> None:
        self.gpus = gpus
        self._free = list(gpus)
        self._processor_free = True
        self._changed = Condition()

    @contextmanager
    def lent(
        self, gpus: int, name: str, waiting: Callable[[], None] = lambda: None
    ) -> Iterator[list[str]]:
        """Wait until `gpus` GPUs are free (without any: the processor) and lend them.

        Args:
            gpus: how many.
            name: whose they are, for messages.
            waiting: called once a second of waiting; what it raises ends the wait.

        Raises:
            ConfigError: the model needs more GPUs than there are.
        """
        if self.gpus and gpus > len(self.gpus):
            raise ConfigError(
                f"model {name!r} needs {gpus} GPUs (tensor x data x pipeline parallel, or the "
                f"processes of its training), and there are {len(self.gpus)}; lower the sizes, or "
                "run where there are more"
            )
        taken: list[str] = []
        with self._changed:
            if self.gpus:
                while len(self._free) < gpus:
                    self._changed.wait(1.0)
                    waiting()
                taken, self._free = self._free[:gpus], self._free[gpus:]
            else:
                while not self._processor_free:
                    self._changed.wait(1.0)
                    waiting()
                self._processor_free = False
        try:
            yield taken
        finally:
            with self._changed:
                self._free += taken
                self._processor_free = self._processor_free or not self.gpus
                self._changed.notify_all()
