"""What a run and the processes that train for it tell each other, as files of the work folder.

job.json          the run, once: what is trained
events.jsonl      rank 0: a line a step, a line a checkpoint that waits to be stored
stored            the run: the step of the last checkpoint that it stored
error-RANK.json   a rank: why it gave up
history.json      rank 0, at the end: what the trainer logged
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.chat_turns import Tokens
from crowdselect_core.finetune.curve import Step
from crowdselect_core.finetune.pair_rows import PairTokens
from crowdselect_core.finetune.rows import TrainingRows

JOB, ROWS = "job.json", "rows.json"
EVENTS, STORED, HISTORY = "events.jsonl", "stored", "history.json"


@dataclass(frozen=True)
class Job:
    """A training as its processes get it.

    Args:
        config: the recipe.
        base: the base model.
        gpu: whether it runs on GPUs.
        start: folder of the checkpoint that it goes on from.
    """

    config: TrainingConfig
    base: BaseModel
    gpu: bool
    start: str | None

    def write(self, work: Path, rows: TrainingRows[Any]) -> Path:
        """Write the job and its rows into the work folder; return the job's file."""
        (work / ROWS).write_bytes(_rows(self.config).dump_json(rows))
        (work / JOB).write_bytes(TypeAdapter(Job).dump_json(self))
        return work / JOB

    @classmethod
    def read(cls, work: Path) -> "tuple[Job, TrainingRows[Any]]":
        """Read what a run has written."""
        job = TypeAdapter(Job).validate_json((work / JOB).read_bytes())
        return job, _rows(job.config).validate_json((work / ROWS).read_bytes())


def _rows(config: TrainingConfig) -> TypeAdapter[TrainingRows[Any]]:
    return TypeAdapter(TrainingRows[PairTokens] if config.on_pairs else TrainingRows[Tokens])


@dataclass(frozen=True)
class Failure:
    """Why a rank gave up.

    Args:
        rank: its number.
        kind: the error's class.
        message: the whole message of an error that a user can correct, else its first line.
        at: when, in seconds since 1970.
    """

    rank: int
    kind: str
    message: str
    at: float

    def write(self, work: Path) -> None:
        """Write the failure into the work folder."""
        (work / f"error-{self.rank}.json").write_text(json.dumps(asdict(self)), "utf-8")


def failures(work: Path) -> list[Failure]:
    """Return why ranks gave up, the first of them first: the others may only follow from it."""
    found = [Failure(**json.loads(f.read_text("utf-8"))) for f in work.glob("error-*.json")]
    return sorted(found, key=lambda failure: failure.at)


def tell(work: Path, event: Mapping[str, Any]) -> None:
    """Append a line to the events."""
    with (work / EVENTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(event) + "\n")


@dataclass
class Events:
    """The events that were not read yet; a line is read once it is whole."""

    work: Path
    at: int = 0

    def __iter__(self) -> Iterator[Step | int]:
        """Yield steps, and the numbers of steps whose checkpoint waits to be stored."""
        file = self.work / EVENTS
        if not file.exists():
            return
        with file.open("rb") as opened:
            opened.seek(self.at)
            whole, newline, _ = opened.read().rpartition(b"\n")
        self.at += len(whole) + len(newline)
        for line in whole.splitlines():
            event = json.loads(line)
            yield Step(**event["step"]) if "step" in event else int(event["checkpoint"])


def mark_stored(work: Path, step: int) -> None:
    """Say that the checkpoint of a step is stored."""
    part = work / f"{STORED}.part"
    part.write_text(str(step))
    part.replace(work / STORED)  # whole, whenever a rank looks


def is_stored(work: Path, step: int) -> bool:
    """Say whether the checkpoint of a step is stored."""
    file = work / STORED
    return file.exists() and int(file.read_text()) >= step


def write_history(work: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write what the trainer logged."""
    (work / HISTORY).write_text(json.dumps(list(history)), "utf-8")


def read_history(work: Path) -> list[Mapping[str, Any]]:
    """Read what the trainer logged."""
    found: list[Mapping[str, Any]] = json.loads((work / HISTORY).read_text("utf-8"))
    return found
