"""One training from its rows to a stored model; a run that was killed goes on where it was."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.chat_turns import ChatTurns
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.curve import Progress, curve
from crowdselect_core.finetune.estimate import estimate
from crowdselect_core.finetune.files import pack
from crowdselect_core.finetune.measured import Paced
from crowdselect_core.finetune.model_card import model_card
from crowdselect_core.finetune.pair_rows import PairRows, training_pairs
from crowdselect_core.finetune.recipe import (
    kind_of_work,
    layout,
    recipe,
    spec,
    versions,
    weights_dtype,
)
from crowdselect_core.finetune.rows import ChatRows, TrainingRows, training_rows
from crowdselect_core.finetune.work_folder import check_room, work_folder
from crowdselect_core.models.causal_lm import Source, is_out_of_memory, positions
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec
from crowdselect_core.urls import is_url

log = logging.getLogger("crowdselect")

MODEL = "model"  # folder of the model in the artifact and in OUT
CURVE_FILE = "training.parquet"


class TrainingMemory(ConfigError):
    """The training does not fit in the memory; the message says what to lower."""


@dataclass(frozen=True)
class Prepared:
    """A training that could begin: its name, its rows, its tokenizer."""

    config: TrainingConfig
    base: BaseModel
    gpu: bool
    spec: Spec
    rows: TrainingRows[Any]
    tokenizer: Any

    @property
    def source(self) -> Source:
        """Where the base model's weights come from."""
        return source(self.config, self.base, self.gpu)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.config.steps(len(self.rows.ids))


def source(config: TrainingConfig, base: BaseModel, gpu: bool) -> Source:
    """Return where a base model comes from."""
    where = "training.base_model"
    return Source(where, base.source, base.revision, weights_dtype(config, gpu))


def prepare(
    config: TrainingConfig, base: BaseModel, data: ChatRows | PairRows, gpu: bool
) -> Prepared:
    """Tokenise the rows of a training.

    Raises:
        UserError: fewer than two rows can be trained, a row is longer than the model reads, or the
            chat template does not fit.
    """
    at = source(config, base, gpu)
    tokenizer = at.tokenizer()
    turns = ChatTurns(tokenizer, config.train_on)
    rows: TrainingRows[Any] = (
        training_pairs(data, turns, config)
        if isinstance(data, PairRows)
        else training_rows(data, turns, config)
    )
    longest, most = max(t.longest for t in rows.tokens), positions(at.config())
    if most is not None and longest > most:
        raise ConfigError(
            f"training: a row has {longest:,} tokens, and the base model reads {most:,}: set "
            f"max_length: {most}"
        )
    named = spec(config, base, data.sha256, gpu)
    return Prepared(config, base, gpu, named, rows, tokenizer)


def train(prepared: Prepared, store: Store, progress: Progress | None = None) -> Artifact:
    """Train, and store the model; goes on from the last checkpoint in the store.

    Args:
        prepared: what is trained.
        store: for the checkpoints and the model.
        progress: called after every step.

    Raises:
        UserError: the training diverged, or does not fit in the memory or on the disk.
    """
    config, named = prepared.config, prepared.spec
    needed = estimate(config, prepared.source.config(), prepared.gpu).disk
    if not is_url(store.place.root):
        check_room(Path(store.place.root), needed, "put the store on a larger disk")
    checkpoints = Checkpoints(store, named.key, layout(config, prepared.gpu))
    with heartbeat(store.place, named.folder), work_folder(needed) as work:
        start = checkpoints.restore(work)
        paced = Paced(kind_of_work(config, prepared.base, prepared.gpu), progress)

        def save(made: Path, step: int) -> None:
            checkpoints.save(made, step, paced.facts)

        history = _run(prepared, work, start, save, paced)
        told = facts(prepared, [float(entry["loss"]) for entry in history if "loss" in entry])
        folder = work / MODEL
        (folder / "README.md").write_text(model_card(told), "utf-8")
        (work / CURVE_FILE).write_bytes(_parquet(history))
        names = [CURVE_FILE, *(f"{MODEL}/{p.name}" for p in folder.iterdir() if p.is_file())]
        return pack(store, named, work, names, {"training": told})


def _run(
    prepared: Prepared,
    work: Path,
    start: Path | None,
    save: Callable[[Path, int], None],
    progress: Progress | None,
) -> list[Mapping[str, Any]]:
    """Train and write the model into `work`; return the logged steps, earlier runs' too."""
    from datasets import disable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    from crowdselect_core.finetune.trainers import trainer

    disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()
    with _memory_explained(prepared.config), warnings.catch_warnings():
        # TRL still uses names that transformers has renamed; users cannot change that.
        warnings.simplefilter("ignore", FutureWarning)
        made = trainer(
            prepared.config, prepared.source.load(), prepared.tokenizer, prepared.rows, work,
            gpu=prepared.gpu, save=save, progress=progress, reference=prepared.source.load,
        )  # fmt: skip
        made.train(resume_from_checkpoint=str(start) if start else None)
        made.save_model(str(work / MODEL))
    (work / MODEL / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing reads
    return list(made.state.log_history)


@contextmanager
def _memory_explained(config: TrainingConfig) -> Iterator[None]:
    try:
        yield
    except Exception as e:
        if not is_out_of_memory(e):
            raise
        at = f"per_device_train_batch_size (now {config.per_device_train_batch_size})"
        first = at if config.per_device_train_batch_size > 1 else "max_length"
        further = "" if config.peft else ", or set peft: lora"
        raise TrainingMemory(
            f"training: the memory of the device does not suffice: lower {first}"
            f"{'' if first == 'max_length' else f' or max_length (now {config.max_length})'}, set "
            f"gradient_checkpointing: true{further}"
        ) from None


def facts(prepared: Prepared, losses: Sequence[float]) -> dict[str, Any]:
    """Return what OUT/training.json says: no time and no machine, so that it is the same again.

    Args:
        prepared: the training.
        losses: by step; none before the training.
    """
    return {
        "key": prepared.spec.key,
        "base_model": prepared.config.base_model,
        "recipe": recipe(prepared.config, prepared.base, prepared.gpu),
        "rows_sha256": prepared.spec.identity["rows"],
        **prepared.rows.counts,
        "steps": len(losses) if losses else prepared.steps,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "versions": versions(),
    }


def _parquet(history: list[Mapping[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    curve(history).write_parquet(buffer, compression="zstd")
    return buffer.getvalue()
