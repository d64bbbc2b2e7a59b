"""How fast training is through the flow, what checkpoints cost, and what a kill repeats.

    python -m benchmarks.training [--part speed checkpoints kill] [--base sample:smollm2]
        [--steps 20] [--rounds 3]

Rounds alternate between `python -m flows.finetune` and TRL's SFTTrainer alone, in a process of its
own, on the same token ids (LoRA, the sample's conversations, the same arguments). Printed are
steps/s and CPU seconds a step from the end of the second step to the end of the last (the first
two warm up), medians and the spread over the rounds; then the share of a run with 20 checkpoints
that lies between the end of a step and its checkpoint stored; then the steps that were made again
after a kill -9 between two checkpoints. CPU seconds tell more than seconds on a busy machine.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import psutil
import yaml

from benchmarks.measure import machine, spread

ROOT = Path(__file__).parent.parent
STEP = re.compile(r"step (\d+)/\d+  loss")
SAVED = re.compile(r"checkpoint +step (\d+), stored")
WARM = 2  # steps that are not measured
CHECKPOINTS = 20
MOST_TOKENS = 128


@dataclass(frozen=True)
class Mark:
    """The end of a step, or (saved) of its checkpoint.

    Args:
        step: its number.
        saved: whether the line is the checkpoint's.
        seconds: when it was read.
        cpu: seconds of processor time that the process had used.
    """

    step: int
    saved: bool
    seconds: float
    cpu: float


def marks(command: Sequence[str], kill_after: int | None = None) -> list[Mark]:
    """Run a training and return what its lines marked; kill -9 it after a step where asked."""
    return list(_marks(command, kill_after))


def _marks(command: Sequence[str], kill_after: int | None) -> Iterator[Mark]:
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        assert process.stderr is not None
        measured, lines = psutil.Process(process.pid), []
        for line in process.stderr:
            lines.append(line)
            found, saved = STEP.search(line), SAVED.search(line)
            if not (found or saved):
                continue
            number = int((found or saved)[1])  # type: ignore[index]
            used = measured.cpu_times()
            yield Mark(number, saved is not None, time.perf_counter(), used.user + used.system)
            if number == kill_after:
                os.kill(process.pid, signal.SIGKILL)
                break
        else:
            process.wait()
            assert process.returncode == 0, "".join(lines[-20:])


def per_step(found: Sequence[Mark]) -> tuple[float, float]:
    """Return seconds and CPU seconds a step of the measured steps, checkpoints left out."""
    steps = [m for m in found if not m.saved]
    first, last = steps[WARM - 1], steps[-1]
    number = last.step - first.step
    return (last.seconds - first.seconds) / number, (last.cpu - first.cpu) / number


def checkpoint_share(found: Sequence[Mark]) -> tuple[float, int, float]:
    """Return checkpoints' share of the time from the first step on, their number, their median."""
    ended = {m.step: m.seconds for m in found if not m.saved}
    spent = [m.seconds - ended[m.step] for m in found if m.saved]
    return sum(spent) / (found[-1].seconds - found[0].seconds), len(spent), median(spent)


def write_rows(file: Path, rows: int) -> None:
    """Write the sample's instructions with the answers of one of its models, again and again."""
    sample = pl.read_parquet(ROOT / "crowdselect_core" / "sample" / "zoo.parquet")
    answers = sample["smollm2-greedy-8bit"].struct[0].to_list()
    pairs = list(zip(sample["instruction"].to_list(), answers, strict=True))
    with file.open("w", encoding="utf-8") as opened:
        for number in range(rows):
            prompt, answer = pairs[number % len(pairs)]
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            opened.write(json.dumps({"messages": turns}) + "\n")


@dataclass(frozen=True)
class Runs:
    """Trainings of one recipe in a folder of their own."""

    folder: Path
    recipe: dict[str, Any]

    def flow(self, name: str, save_steps: int) -> list[str]:
        """Return the words of a training through the flow, with a store of its own."""
        keys = {
            "store": str(self.folder / name),
            "out": str(self.folder / f"{name}-out"),
            "training": {**self.recipe, "save_steps": save_steps},
        }
        config = self.folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump(keys))
        return [sys.executable, "-m", "flows.finetune", "--config", str(config)]

    def bare(self) -> list[str]:
        """Return the words of the same training by TRL alone."""
        file = self.folder / "recipe.json"
        file.write_text(json.dumps(self.recipe))
        return [sys.executable, "-m", "benchmarks.training", "--bare", str(file)]


def train_bare(recipe: dict[str, Any]) -> None:
    """Train by TRL's own trainer and collator, with one callback that prints the steps."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from crowdselect_core.config.finetune import TrainingConfig
    from crowdselect_core.finetune import training
    from crowdselect_core.finetune.base_model import base_model
    from crowdselect_core.finetune.rows import file_rows
    from crowdselect_core.finetune.trainers import sft
    from crowdselect_core.finetune.trainers.common import lora

    config = TrainingConfig.model_validate(recipe)
    base = base_model(config)
    made = training.prepare(config, base, file_rows(str(config.train_file)), gpu=False)

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            print(f"step {state.global_step}/{state.max_steps}  loss", file=sys.stderr, flush=True)

    assert config.peft is not None
    peft: LoraConfig = lora(config.peft)
    with tempfile.TemporaryDirectory() as folder:
        arguments: SFTConfig = sft.arguments(config, Path(folder), gpu=False)
        arguments.save_strategy = "no"
        data = Dataset.from_dict({
            "input_ids": [t.input_ids for t in made.rows.tokens],
            "labels": [t.labels for t in made.rows.tokens],
        })  # fmt: skip
        torch.manual_seed(config.seed)
        trainer = SFTTrainer(
            made.source.load(), arguments, train_dataset=data, processing_class=made.tokenizer,
            callbacks=[Steps()], peft_config=peft,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def speed(runs: Runs, steps: int, rounds: int) -> None:
    """Print the speed of the flow beside TRL alone."""
    flow, bare = [], []
    for number in range(rounds):
        bare.append(per_step(marks(runs.bare())))
        flow.append(per_step(marks(runs.flow(f"plain-{number}", steps))))
    for what, found in (("flows.finetune", flow), ("bare TRL", bare)):
        print(
            f"{what}: {spread([1 / seconds for seconds, _ in found])} steps/s, "
            f"{spread([cpu for _, cpu in found])} CPU s a step (median of {rounds}, least-most)"
        )
    ratios = [[b[i] / f[i] for f, b in zip(flow, bare, strict=True)] for i in (0, 1)]
    print(
        f"speed of the flow beside bare TRL: {spread(ratios[0])} by seconds, {spread(ratios[1])} "
        "by CPU seconds"
    )


def checkpoints(runs: Runs, steps: int, _: int) -> None:
    """Print what 20 checkpoints take of a run."""
    found = marks(runs.flow("often", max(1, steps // CHECKPOINTS)))
    share, saved, seconds = checkpoint_share(found)
    print(
        f"checkpoints: {share:.1%} of a run of {steps} steps with {saved} of them; one takes "
        f"{seconds:.2f} s (median)"
    )


def kill(runs: Runs, steps: int, _: int) -> None:
    """Print how many steps are made again after a kill -9 between two checkpoints."""
    every = max(2, steps // 4)
    killed = 2 * every + every // 2
    words = runs.flow("killed", every)
    before = [m.step for m in marks(words, kill_after=killed) if not m.saved]
    after = next(m.step for m in marks(words) if not m.saved)
    repeated = before[-1] - after + 1
    print(f"kill -9 at step {killed}, a checkpoint every {every}: {repeated} steps made again")
    assert 0 <= repeated <= every


PARTS = {"speed": speed, "checkpoints": checkpoints, "kill": kill}


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--base", default="sample:smollm2")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows-a-step", type=int, default=4)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        train_bare(json.loads(options.bare.read_text()))
        return
    print(machine("torch", "transformers", "trl", "peft"), f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_rows(folder / "train.jsonl", options.steps * options.rows_a_step)
        recipe = {
            "base_model": options.base, "peft": "lora", "train_file": str(folder / "train.jsonl"),
            "num_train_epochs": 1, "global_batch_size": options.rows_a_step,
            "per_device_train_batch_size": options.rows_a_step, "max_length": MOST_TOKENS,
        }  # fmt: skip
        for part in options.part:
            PARTS[part](Runs(folder, recipe), options.steps, options.rounds)


if __name__ == "__main__":
    main()
