"""Checkpoints of a training in the store: the last two stay, and a killed run goes on from one."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.finetune.files import pack, unpack
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.identity import Spec

log = logging.getLogger("crowdselect")

STAGE, VERSION = "checkpoint", 1
STAY = 2  # of a training: should the last be damaged, the one before it still is there

# What resuming reads: weights, and the states of optimizer, scheduler and random numbers, which
# torch loads with weights_only. training_args.bin is a pickle that nothing reads.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
STATES = ("optimizer.pt", "scheduler.pt", "rng_state*.pth", "trainer_state.json")
CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")


class Checkpoints:
    """The checkpoints of one training.

    Args:
        store: where they are.
        training: the key of the model that the training makes.
        layout: how it runs; a checkpoint of another layout is not gone on from.
    """

    def __init__(self, store: Store, training: str, layout: Mapping[str, Any]) -> None:
        self._store, self._training, self._layout = store, training, dict(layout)

    def save(self, folder: Path, step: int, facts: Mapping[str, Any] | None = None) -> None:
        """Store a checkpoint of the trainer, then remove those before the last two.

        Args:
            folder: where the trainer has written it.
            step: after which it was written.
            facts: what its manifest says beside the files.
        """
        patterns = (*WEIGHTS, *STATES, *CONFIGS)
        names = sorted({path.name for p in patterns for path in folder.glob(p)})
        if missing := _missing(names):
            log.warning(
                "checkpoint    step %d is not stored: it has no %s (the trainer writes it in "
                "another form); a killed run begins anew", step, missing,
            )  # fmt: skip
            return
        spec = Spec(
            STAGE,
            VERSION,
            {"step": step, "layout": self._layout},
            {"training": self._training},
        )
        pack(self._store, spec, folder, names, facts or {})
        log.info("%-13s step %d, stored", "checkpoint", step)
        for older in self._own()[STAY:]:
            self._remove(older)

    def restore(self, folder: Path) -> Path | None:
        """Write the last whole checkpoint into `folder`; return its place, None without one."""
        own = self._own()
        if not own and any(True for _ in self._all()):
            log.warning(
                "checkpoint    the stored ones are of another device or batch layout than %s; the "
                "training starts from step 0", json.dumps(self._layout, sort_keys=True),
            )  # fmt: skip
        for artifact in own:
            step = int(artifact.manifest.identity["step"])
            place = folder / f"checkpoint-{step}"
            try:
                _check_names(artifact)
                unpack(artifact, place)
            except DamagedArtifact as e:
                log.warning("checkpoint    step %d: %s; the one before it is tried", step, e)
                self._remove(artifact)
                continue
            log.info("%-13s goes on from step %d", "checkpoint", step)
            return place
        return None

    def last_step(self) -> int:
        """Return the step of the last checkpoint, 0 without one."""
        return next((int(a.manifest.identity["step"]) for a in self._own()), 0)

    def _remove(self, artifact: Artifact) -> None:
        self._store.forget(STAGE, artifact.key)
        self._store.place.prune(artifact.manifest.folder)

    def _own(self) -> list[Artifact]:
        """Return the checkpoints of this layout, the last step first."""
        own = [a for a in self._all() if a.manifest.identity.get("layout") == self._layout]
        return sorted(own, key=lambda a: -int(a.manifest.identity["step"]))

    def _all(self) -> Iterator[Artifact]:
        """Yield the checkpoints of this training, of any layout."""
        for key in self._store.place.folders(STAGE):
            try:
                found = self._store.open(STAGE, key)
            except DamagedArtifact:
                continue  # unfinished, or told by verify
            step = found.manifest.identity.get("step")
            if found.manifest.inputs.get("training") == self._training and type(step) is int:
                yield found


def _missing(names: Sequence[str]) -> str:
    """Return which files a run could not go on without; '' where all are there."""
    needed = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
    weights = [] if any(n.endswith(".safetensors") for n in names) else ["weights in safetensors"]
    return ", ".join([*(n for n in needed if n not in names), *weights])


def _check_names(artifact: Artifact) -> None:
    """Refuse files that no checkpoint of ours has: others may write to a bucket."""
    for name in artifact.manifest.facts.get("files", {}):
        if not any(fnmatchcase(name, p) for p in (*WEIGHTS, *STATES, *CONFIGS)):
            raise DamagedArtifact(f"{artifact.manifest.folder} names a file that is none of ours")
