"""A Python function as a reward model, with the signature of TRL's reward functions.

    def verify(prompts, completions, **kwargs) -> list[float | None]

It may be async. Prompts and completions are conversations, and it is called with one row at a time
(lists of length 1), so that a time limit is that of a row. It runs in worker processes with an
interpreter of their own, which are killed and started again when a row hangs or crashes.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib import metadata
from itertools import islice
from pathlib import Path
from threading import local
from typing import Any

from crowdselect_core.config.reward import FunctionReward
from crowdselect_core.errors import ConfigError, first_line
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.base import Item, Score, unscored
from crowdselect_core.reward.function.process import Died, Worker, search_path
from crowdselect_core.reward.function.worker import packed

AHEAD = 2  # rows a worker that are taken before they are needed
OWN = ("prompts", "completions")


class FunctionScorer:
    """A reward function that gives every item one score.

    Unscored for the row's sake: `time_limit`, `function_error` (it raised), `no_score` (None),
    `not_a_number` (NaN, infinite, no list of one number), `worker_died` (the process ended),
    `bad_column` (a value that JSON has no form for).
    """

    heads: tuple[str, ...] = ("",)

    def __init__(self, config: FunctionReward) -> None:
        """Raise a ConfigError for a column named like an argument; no process is started yet."""
        for name in config.columns:
            if name in OWN:
                raise ConfigError(
                    f"reward model {config.name!r}: column {name!r} is an argument of its own, "
                    "rename the column"
                )
        self._config = config
        self._threads = ThreadPoolExecutor(config.workers, thread_name_prefix="reward-function")
        # A worker belongs to the thread that started it: the kernel kills it when that ends.
        self._mine = local()
        self._workers: list[Worker] = []

    def check(self) -> None:
        """Import the function in a worker; raises ConfigError with the reason and the remedy."""
        self._threads.submit(lambda: self._worker().start()).result()

    def run(self, items: Iterator[Item], done: Callable[[Score], None]) -> None:
        """Score every item, calling `done` from this thread as scores come.

        Memory: three rows a worker.

        Raises:
            ConfigError: the function cannot be imported, or an item lacks a column.
        """
        running: set[Future[Score]] = set()
        most = self._config.workers * (1 + AHEAD)
        more = True
        try:
            while more or running:
                batch = list(islice(items, most - len(running))) if more else []
                more = more and len(batch) == most - len(running)
                running |= {self._threads.submit(self._score, item) for item in batch}
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    done(future.result())
        finally:
            if running:
                self._drop(running)

    def close(self) -> None:
        """Kill the workers and end their threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in list(self._workers):
            worker.kill()
        self._threads.shutdown()
        for worker in self._workers:
            worker.end()

    def _drop(self, running: set[Future[Score]]) -> None:
        """Forget what is in flight: rows not begun are cancelled, the others lose their worker."""
        begun = [future for future in running if not future.cancel()]
        for worker in list(self._workers):
            worker.kill()
        wait(begun)

    def _worker(self) -> Worker:
        """Return the worker of this thread."""
        if not hasattr(self._mine, "worker"):
            self._mine.worker = Worker(self._config)
            self._workers.append(self._mine.worker)
        worker: Worker = self._mine.worker
        return worker

    def _score(self, item: Item) -> Score:
        """Score one item in the worker of this thread."""
        key, limit = item.key, self._config.time_limit
        row = {"id": key.hex(), "arguments": self._arguments(item)}
        try:
            message = packed(row)
        except (TypeError, ValueError) as e:
            return unscored(key, "bad_column", first_line(e), Failure.ROW)
        worker = self._worker()
        worker.start()
        try:
            reply = worker.ask(message, limit)
            if reply.get("id") != row["id"]:
                raise Died("it replied to another row")
        except TimeoutError:
            worker.end()
            return unscored(key, "time_limit", f"no score within {limit:g} s", Failure.ROW)
        except Died as e:
            worker.end()
            return unscored(key, "worker_died", str(e), Failure.ROW)
        if "score" in reply:
            return Score(key, (float(reply["score"]),))
        return unscored(key, reply["code"], reply["why"], Failure.ROW)

    def _arguments(self, item: Item) -> dict[str, Any]:
        """Return the keyword arguments of a call with one row."""
        for name in self._config.columns:
            if name not in item.extra:
                raise ConfigError(
                    f"reward model {self._config.name!r}: the data set has no column {name!r}, "
                    "take it out of columns or add it to the data"
                )
        completion = [{"role": "assistant", "content": item.text}]
        own = {"prompts": [list(item.messages)], "completions": [completion]}
        return own | {name: [item.extra[name]] for name in self._config.columns}


def function_identity(config: FunctionReward) -> dict[str, Any]:
    """Return what names the function's computation, as JSON values; runs none of its code.

    Covered: path, `version`, columns, and the content of the file that defines its module
    (`source`: its sha256), which is looked for by name in the working directory and on sys.path.
    A module that is no such file (compiled, zipped, behind an import hook) has the name and
    version of its installed distribution as `source`. Not covered: whatever else that module
    imports or reads, and the time limit. Raise `version` when one of these changes the score.

    Raises:
        ConfigError: there is neither a file nor a distribution.
    """
    module = config.path.partition(":")[0]
    file = _source(module)
    if file is not None:
        source = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    else:
        owners = metadata.packages_distributions().get(module.partition(".")[0], [])
        if not owners:
            raise ConfigError(
                f"reward model {config.name!r}: there is no module {module!r} in the working "
                "directory or on sys.path; run from the folder that holds it, or install it"
            )
        versions = (f"{owner} {metadata.version(owner)}" for owner in sorted(set(owners)))
        source = "installed: " + ", ".join(versions)
    return {
        "path": config.path,
        "version": config.version,
        "columns": list(config.columns),
        "source": source,
    }


def _source(module: str) -> Path | None:
    """Find the file of a module as Python would, packages before plain modules."""
    *parents, last = module.split(".")
    places = [Path(place) for place in search_path()]
    for name in parents:
        regular = (place / name for place in places if (place / name / "__init__.py").is_file())
        package = next(regular, None)
        # several folders of one name without __init__.py are one namespace
        places = [package] if package else [place / name for place in places]
    for place in places:
        for file in (place / last / "__init__.py", place / f"{last}.py"):
            if file.is_file():
                return file
    return None
