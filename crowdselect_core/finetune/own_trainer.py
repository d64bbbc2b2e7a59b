"""Your own trainer: a command that gets the rows and writes a model into a folder."""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from crowdselect_core.config.finetune import PLACEHOLDERS, TrainingConfig
from crowdselect_core.errors import ConfigError, shown
from crowdselect_core.finetune.base_model import BaseModel
from crowdselect_core.finetune.base_tokenizer import add_tokenizer
from crowdselect_core.finetune.chat_turns import Messages
from crowdselect_core.finetune.curve import curve_parquet
from crowdselect_core.finetune.files import is_name, pack
from crowdselect_core.finetune.licenses import base_license
from crowdselect_core.finetune.own_card import own_card
from crowdselect_core.finetune.pair_rows import PairRows
from crowdselect_core.finetune.recipe import CURVE_FILE, MODEL, STAGE, VERSION
from crowdselect_core.finetune.rows import ChatRows
from crowdselect_core.finetune.work_folder import work_folder
from crowdselect_core.processes.user_command import UserCommand, filled, run, split
from crowdselect_core.store.artifacts import Artifact, Store
from crowdselect_core.store.heartbeat import heartbeat
from crowdselect_core.store.identity import Spec

log = logging.getLogger("crowdselect")

WHERE = "training.command"

# What is stored of its folder. Weights in a pickle (*.bin, *.pt) are none of it.
STORED = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")


@dataclass(frozen=True)
class OwnTraining:
    """A training by a command that could begin."""

    config: TrainingConfig
    base: BaseModel
    spec: Spec
    rows: ChatRows | PairRows
    licenses: Mapping[str, str | None] = field(default_factory=dict)  # of the answers, by model

    @property
    def line(self) -> str:
        """What is trained, for the log."""
        return f"{len(self.rows.ids):,} rows, by {WHERE}"


def command_words(config: TrainingConfig) -> list[str]:
    """Return the words of the command, the placeholders still in them."""
    return split(WHERE, str(config.command), PLACEHOLDERS)


def prepare(
    config: TrainingConfig,
    base: BaseModel,
    rows: ChatRows | PairRows,
    licenses: Mapping[str, str | None] = MappingProxyType({}),
) -> OwnTraining:
    """Name a training by a command: its text, the rows, the base weights, the seed.

    What the command's own files say is not known here and no part of the key.

    Args:
        config: with the command.
        base: what is trained.
        rows: that it is given.
        licenses: of the answers, for the model card; no part of the key.
    """
    named = {
        "rows": rows.sha256,
        "base": base.identity,
        "command": config.command,
        "loss": config.loss,
        "seed": config.seed,
    }
    return OwnTraining(config, base, Spec(STAGE, VERSION, named), rows, licenses)


def train(
    prepared: OwnTraining,
    store: Store,
    gpus: Sequence[str] = (),
    checked: Callable[[], None] = lambda: None,
) -> Artifact:
    """Run the command, and store the model that it writes; a killed run begins anew.

    Args:
        prepared: what is trained.
        store: for the model.
        gpus: those that the command may use (CUDA_VISIBLE_DEVICES).
        checked: called several times a second; what it raises ends the command.

    Raises:
        UserError: commands do not run here, it failed, or its folder holds no model.
    """
    named = prepared.spec
    with heartbeat(store.place, named.folder), work_folder(0) as work:
        out = work / "output"
        out.mkdir()
        _run(prepared, work, out, gpus, checked)
        names = model_files(out)
        names += add_tokenizer(out, prepared.base, WHERE)
        told = _told(prepared, out)
        out.rename(work / MODEL)
        (work / MODEL / "README.md").write_text(own_card(told), "utf-8")
        (work / CURVE_FILE).write_bytes(curve_parquet([]))
        files = [CURVE_FILE, f"{MODEL}/README.md", *(f"{MODEL}/{name}" for name in names)]
        return pack(store, named, work, files, {"training": told})


def _run(
    prepared: OwnTraining,
    work: Path,
    out: Path,
    gpus: Sequence[str],
    checked: Callable[[], None],
) -> None:
    file, folder = work / "train.jsonl", work / "command"
    folder.mkdir()
    write_rows(prepared.rows, file)
    values = {
        "train_file": str(file),
        "output_dir": str(out),
        "seed": str(prepared.config.seed),
        "base_model": prepared.base.source,
    }
    handle, name = tempfile.mkstemp(".log", "crowdselect-command-")
    os.close(handle)
    log.info("%-13s the command runs, its log is %s", "finetune", name)
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    words = filled(command_words(prepared.config), values)
    run(UserCommand(WHERE, words, folder, Path(name), devices), checked)


def write_rows(rows: ChatRows | PairRows, file: Path) -> None:
    """Write rows one a line: messages as OUT/train.jsonl has them, or pairs as TRL has them."""
    with file.open("w", encoding="utf-8") as opened:
        for row in _lines(rows):
            opened.write(json.dumps(row, ensure_ascii=False) + "\n")


def _lines(rows: ChatRows | PairRows) -> Iterator[dict[str, Any]]:
    if isinstance(rows, ChatRows):
        for one in rows.messages:
            yield {"messages": _messages(one)}
        return
    for prompt, chosen, rejected in zip(rows.prompts, rows.chosen, rows.rejected, strict=True):
        answers = {"chosen": chosen, "rejected": rejected}
        yield {"prompt": _messages(prompt)} | {
            name: [{"role": "assistant", "content": text}] for name, text in answers.items()
        }


def _messages(turns: Messages) -> list[dict[str, str]]:
    return [{"role": m["role"], "content": m["content"]} for m in turns]


def model_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are a model's: those that are stored.

    Raises:
        ConfigError: it holds neither config.json and weights nor an adapter in safetensors.
    """
    there = sorted(p.name for p in folder.iterdir() if p.is_file() and not p.is_symlink())
    kept = [n for n in there if is_name(n) and any(fnmatchcase(n, p) for p in STORED)]
    weights = [n for n in kept if n.endswith(".safetensors")]
    full = "config.json" in kept and [n for n in weights if not n.startswith("adapter")]
    adapter = {"adapter_config.json", "adapter_model.safetensors"} <= set(kept)
    left = sorted({p.name for p in folder.iterdir()} - set(kept))
    if not (full or adapter):
        pickled = [n for n in there if any(fnmatchcase(n, p) for p in PICKLES)]
        pickles = f"; {shown(pickled, 5)}: pickle files are not read" if pickled else ""
        raise ConfigError(
            f"{WHERE}: expected in {{output_dir}} a model (config.json and *.safetensors) or an "
            "adapter (adapter_config.json and adapter_model.safetensors), found "
            f"{shown(there, 20) or 'no file'}{pickles}: have it save a model there"
        )
    if left:
        log.info("%-13s not stored of the command's folder: %s", "finetune", shown(left, 10))
    return kept


def _told(prepared: OwnTraining, out: Path) -> dict[str, Any]:
    """Return what OUT/training.json says."""
    identity = prepared.spec.identity
    adapter = {"kind": "adapter"} if (out / "adapter_config.json").is_file() else None
    recipe = {name: value for name, value in identity.items() if name != "rows"}
    return {
        "key": prepared.spec.key,
        "base_model": prepared.config.base_model,
        "recipe": {**recipe, "peft": adapter},
        "rows_sha256": identity["rows"],
        "rows": len(prepared.rows.ids),
        "licenses": {"base": base_license(prepared.base), "answers": dict(prepared.licenses)},
    }
