"""One training from its rows to a stored model; a run that was killed goes on where it was."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.chat_turns import ChatTurns
from crowdselect_core.finetune.checkpoints import Checkpoints
from crowdselect_core.finetune.curve import Progress, curve_parquet
from crowdselect_core.finetune.estimate import estimate
from crowdselect_core.finetune.files import pack
from crowdselect_core.finetune.in_process import run, source
from crowdselect_core.finetune.licenses import base_license
from crowdselect_core.finetune.measured import Paced
from crowdselect_core.finetune.model_card import model_card
from crowdselect_core.finetune.pair_rows import PairRows, training_pairs
from crowdselect_core.finetune.recipe import (
    CURVE_FILE,
    MODEL,
    kind_of_work,
    layout,
    recipe,
    spec,
    versions,
)
from crowdselect_core.finetune.rows import ChatRows, TrainingRows, training_rows
from crowdselect_core.finetune.work_folder import check_store, work_folder
from crowdselect_core.models.causal_lm import Source, positions
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec

log = logging.getLogger("crowdselect")


@dataclass(frozen=True)
class Prepared:
    """A training that could begin: its name, its rows, its tokenizer."""

    config: TrainingConfig
    base: BaseModel
    gpu: bool
    spec: Spec
    rows: TrainingRows[Any]
    tokenizer: Any
    licenses: Mapping[str, str | None] = field(default_factory=dict)  # of the answers, by model

    @property
    def line(self) -> str:
        """What is trained, for the log."""
        counts = self.rows.counts
        what = "pairs" if self.config.on_pairs else "rows"
        return f"{counts['rows']:,} {what}, {counts['tokens']:,} tokens, {self.steps:,} steps"

    @property
    def source(self) -> Source:
        """Where the base model's weights come from."""
        return source(self.config, self.base, self.gpu)

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.config.steps(len(self.rows.ids))


def prepare(
    config: TrainingConfig,
    base: BaseModel,
    data: ChatRows | PairRows,
    gpu: bool,
    licenses: Mapping[str, str | None] = MappingProxyType({}),
) -> Prepared:
    """Tokenise the rows of a training.

    Args:
        config: the recipe.
        base: what is trained.
        data: the rows.
        gpu: whether it runs on a GPU.
        licenses: of the answers, for the model card; no part of the key.

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
    return Prepared(config, base, gpu, named, rows, tokenizer, licenses)


def train(
    prepared: Prepared,
    store: Store,
    progress: Progress | None = None,
    gpus: Sequence[str] = (),
    checked: Callable[[], None] = lambda: None,
) -> Artifact:
    """Train, and store the model; goes on from the last checkpoint in the store.

    On GPUs, and with several processes, it trains in processes of their own, so that no memory of
    a GPU is held after it; one process on the processor is this one.

    Args:
        prepared: what is trained.
        store: for the checkpoints and the model.
        progress: called after every step.
        gpus: those that the processes may use, one each.
        checked: called several times a second; what it raises ends the training.

    Raises:
        UserError: the training diverged, or does not fit in the memory or on the disk.
    """
    config, named = prepared.config, prepared.spec
    needed = estimate(config, prepared.source.config(), prepared.gpu).disk
    check_store(store.place.root, needed)
    checkpoints = Checkpoints(store, named.key, layout(config, prepared.gpu))
    with heartbeat(store.place, named.folder), work_folder(needed) as work:
        start = checkpoints.restore(work)
        paced = Paced(kind_of_work(config, prepared.base, prepared.gpu), progress)

        def save(made: Path, step: int) -> None:
            checkpoints.save(made, step, paced.facts)

        history = _history(prepared, work, start, save, paced, gpus, checked)
        told = facts(prepared, [float(entry["loss"]) for entry in history if "loss" in entry])
        folder = work / MODEL
        (folder / "README.md").write_text(model_card(told), "utf-8")
        (work / CURVE_FILE).write_bytes(curve_parquet(history))
        names = [CURVE_FILE, *(f"{MODEL}/{p.name}" for p in folder.iterdir() if p.is_file())]
        return pack(store, named, work, names, {"training": told})


def _history(
    prepared: Prepared,
    work: Path,
    start: Path | None,
    save: Callable[[Path, int], None],
    progress: Progress | None,
    gpus: Sequence[str],
    checked: Callable[[], None],
) -> list[Mapping[str, Any]]:
    """Train here or in processes of their own; return the logged steps, earlier runs' too."""
    config, base, gpu, rows = prepared.config, prepared.base, prepared.gpu, prepared.rows
    if config.num_processes == 1 and config.launch_config is None and not gpu:
        return run(config, base, gpu, rows, prepared.tokenizer, work, start, save, progress)
    from crowdselect_core.finetune.launch.job import Job
    from crowdselect_core.finetune.launch.launcher import launched

    job = Job(config, base, gpu, str(start) if start else None)
    return launched(job, rows, work, gpus, save, progress, checked)


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
        "licenses": {"base": base_license(prepared.base), "answers": dict(prepared.licenses)},
        "versions": versions(),
    }
