"""How fast a model last answered or scored: a note beside its cells, for the next forecast.

It is no part of any key: the same cells at another pace are the same cells.
"""

import json
from dataclasses import asdict, dataclass

from crowdselect_core.generate.call_tracker import CallTracker
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec

FILE = "pace.json"
FAR_FEWER = 10  # times fewer calls measure nothing beside those before


@dataclass(frozen=True)
class Throughput:
    """What one run measured of a model."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Completion tokens a second."""
        return self.completion_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def calls_a_second(self) -> float:
        """Answers or scores a second."""
        return self.calls / self.seconds if self.seconds > 0 else 0.0


def write_pace(store: Store, cells: Spec, calls: CallTracker) -> None:
    """Note what a run measured; the last one counts, unless it made far fewer calls."""
    before = read_pace(store, cells)
    if before is not None and calls.answered < before.calls / FAR_FEWER:
        return
    pace = Throughput(calls.answered, calls.prompt_tokens, calls.completion_tokens, calls.seconds)
    store.place.replace(f"{cells.folder}/{FILE}", json.dumps(asdict(pace)).encode())


def read_pace(store: Store, cells: Spec) -> Throughput | None:
    """Return what the last run measured, None where there is none."""
    try:
        told = json.loads(store.place.read(f"{cells.folder}/{FILE}"))
        return Throughput(**{name: told[name] for name in Throughput.__dataclass_fields__})
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # a note that is torn tells nothing
