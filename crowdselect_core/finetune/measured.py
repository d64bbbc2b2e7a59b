"""How fast a base model was trained before: checkpoints in the store remember it, for dry runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.finetune.checkpoints import STAGE
from crowdselect_core.finetune.curve import Progress, Step
from crowdselect_core.store.artifacts import Store

RATE = "tokens_per_second"
Kind = Mapping[str, Any]  # what a rate was measured on


@dataclass
class Paced:
    """Remembers the rate of the last step, and passes the step on.

    Args:
        kind: what the rate is measured on, `recipe.kind_of_work`.
        progress: called after every step.
    """

    kind: Kind
    progress: Progress | None
    rate: float | None = None

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        self.rate = step.tokens_per_second
        if self.progress:
            self.progress(step)

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint's manifest says of the rate."""
        return {"measured": {**self.kind, RATE: self.rate}} if self.rate else {}


def measured_rate(store: Store, kind: Kind) -> float | None:
    """Return the tokens per second of the last checkpoints of such work, None without one.

    Several trainings of the base model: the mean of their rates.
    """
    rates = [found[RATE] for found in _all(store) if _fits(found, kind)]
    return sum(rates) / len(rates) if rates else None


def _fits(found: Mapping[str, Any], kind: Kind) -> bool:
    rate = found.get(RATE)
    usable = isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0
    return usable and {n: v for n, v in found.items() if n != RATE} == dict(kind)


def _all(store: Store) -> Iterator[dict[str, Any]]:
    for key in store.place.folders(STAGE):
        try:
            found = store.open(STAGE, key).manifest.facts.get("measured")
        except DamagedArtifact:
            continue  # unfinished, or told by verify
        if isinstance(found, dict):
            yield found
