"""`flows.experiment --preflight`: what a grid of days needs, looked at before it begins."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crowdselect_core.cluster.training import spreads
from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, UserError, first_line
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.settings import required
from crowdselect_core.generate.factory import Secret
from crowdselect_core.models.hub import local_folder
from crowdselect_core.planning.experiment_grid import experiment_grid
from crowdselect_core.planning.experiment_models import (
    Asked,
    Local,
    asked_models,
    local_models,
    trainings,
)
from crowdselect_core.util.extras import install
from crowdselect_core.util.text import plural

SAMPLE = "sample:"
CARD_LINES = 100  # of a model card that are looked through for its licence


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Args:
        line: in words.
        failed: whether the experiment could not run to its end.
    """

    line: str
    failed: bool = False


def experiment_preflight(config: SelectConfig, secret: Secret) -> Iterator[str]:
    """Yield what was found of every model, GPU and judge, as it is found.

    Args:
        config: resolved.
        secret: from a block's name to the key that it holds.

    Raises:
        ConfigError: in the end, if anything failed.
        UserError: a cell that its flow would refuse.
    """
    found = experiment_grid(config)
    failed = checks = 0
    for finding in _findings(config, found.cells, secret):
        failed, checks = failed + finding.failed, checks + 1
        yield ("FAILED     " if finding.failed else "ok         ") + finding.line
    if failed:
        raise ConfigError(f"preflight: {failed} checks failed; see the lines above")
    yield (
        f"preflight  {plural(checks, 'check')}, none failed"
        if checks
        else "preflight  nothing to check: no model runs here, and none is asked"
    )


def _findings(config: SelectConfig, cells: Sequence[Cell], secret: Secret) -> Iterator[Finding]:
    for model in local_models(config, cells):
        yield _model(model)
    for training in trainings(cells):
        yield _memory(training, required(config).gpus_per_cell, elsewhere=spreads(config))
    for one in asked_models(config, cells, secret):
        yield _answers(one)


def _model(model: Local) -> Finding:
    """Look at a model: whether it can be had, and its licence."""
    name, where = model.name, f"{model.use} {model.name}"
    if name.startswith(SAMPLE):
        return Finding(f"{where}: of the sample, licence apache-2.0")
    try:
        folder = local_folder(name)
    except ConfigError as e:
        return Finding(f"{where}: {e}", failed=True)
    if folder is not None:
        return Finding(f"{where}: a folder, {_licence(_card_licence(folder))}")
    return _on_hub(name, model.revision, where)


def _on_hub(name: str, revision: str | None, where: str) -> Finding:
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError
    except ImportError:
        needed = f"{where}: a hub id needs huggingface_hub, which is not installed"
        return Finding(f"{needed}: {install('models')}", failed=True)
    token = "HF_TOKEN is set" if os.environ.get("HF_TOKEN") else "HF_TOKEN is not set"
    try:
        api = HfApi()
        info = api.model_info(name, revision=revision, timeout=30)
        if info.gated:
            api.auth_check(name)
    except GatedRepoError:
        return Finding(
            f"{where}: gated, and {token}: accept its terms on the hub, and log in", failed=True
        )
    except Exception as e:  # offline, unreachable, private, unknown: said, and counted
        return Finding(f"{where}: the hub does not tell of it: {first_line(e)}", failed=True)
    licence = info.card_data.get("license") if info.card_data else None
    gated = ", gated, and this account may read it" if info.gated else ""
    return Finding(f"{where}: on the hub{gated}, {_licence(licence)}")


def _licence(found: object) -> str:
    return f"licence {found}" if found else "licence not stated: look it up"


def _card_licence(folder: Path) -> str | None:
    """Return the licence that a folder's model card states at its head."""
    try:
        lines = (folder / "README.md").read_text("utf-8", "replace").splitlines()[:CARD_LINES]
    except OSError:
        return None
    if not lines or lines[0].strip() != "---":
        return None
    for line in lines[1:]:
        if line.strip() == "---":
            return None
        key, _, value = line.partition(":")
        if key.strip() == "license":
            return value.strip().strip("'\"") or None
    return None


def _memory(training: TrainingConfig, gpus: int, *, elsewhere: bool) -> Finding:
    """Hold the memory of a training against that of the GPUs of a cell, where these are here."""
    where = f"training of {training.base_model} ({training.loss}, {_peft(training)})"
    if training.command is not None:
        return Finding(f"{where}: by a command, whose memory is not known")
    from crowdselect_core.finetune.base_model import base_model, check_packages
    from crowdselect_core.finetune.estimate import estimate
    from crowdselect_core.finetune.in_process import source
    from crowdselect_core.finetune.recipe import has_gpu

    try:
        check_packages()
        gpu = has_gpu()
        need = estimate(training, source(training, base_model(training), gpu).config(), gpu)
    except UserError as e:
        return Finding(f"{where}: {e}", failed=True)
    words = f"{where}: {need.memory / 1e9:.1f} GB without activations"
    if elsewhere:
        return Finding(f"{words}; trained on the Ray cluster, whose GPUs are not looked at")
    if training.num_processes > gpus and gpu:
        return Finding(
            f"{where}: num_processes {training.num_processes}, and a cell sees {gpus} GPUs: raise "
            "experiment.gpus_per_cell",
            failed=True,
        )
    have = _gpu_memory()
    if have is None:
        return Finding(f"{words}; no GPU here, it is trained on the processor")
    return Finding(f"{words}; the smallest GPU has {have / 1e9:.1f} GB", need.memory > have)


def _peft(training: TrainingConfig) -> str:
    return "all weights" if training.peft is None else "LoRA"


def _gpu_memory() -> int | None:
    """Return the bytes of the smallest GPU; None without one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        told = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        sizes = [int(line) for line in told.stdout.split()]
    except (OSError, ValueError, subprocess.SubprocessError):
        return None  # a driver that does not answer gives no GPU
    return min(sizes) * 2**20 if sizes else None


def _answers(asked: Asked) -> Finding:
    try:
        asked.check()
    except UserError as e:
        return Finding(f"{asked.name}: {e}", failed=True)
    return Finding(f"{asked.name}: answers")
