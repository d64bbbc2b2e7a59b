"""What the rival methods cost and choose: `python -m benchmarks.methods [table|speed|ifd]`.

table: `flows.select` on alpaca_zoo (505 rows, 31 models) with each method, 100 rows of 505, on a
store that holds what all methods share, beside a Prefect server. Prints per method the seconds of
CPU of the command (the start and the stages of its own; `crowdselect` again is the start alone),
the answers, scores and rows read by a model that it needs had the data set nothing yet, and the
overlap with crowdselect and with chance. ifd and rds+ (SmolLM2-135M) and the rows beside them
choose 10 of the first 24 rows. Stand-ins where a method needs columns that the data set has not:
deita's complexity is the number of words of the instruction and its quality the mean MiniLM-BT of
the answers, shifted to be positive; `column` is the MiniLM-BT of one model; rds+'s targets are 16
questions of MT-Bench.

speed: k-center greedy, 1,000 of 100,000 x 384 on one thread; Deita's filter on 20,000 of these.

ifd: the two losses of IFD of 24 real answers by SmolLM2-135M in float32, in batches by length
beside one row at a time, by the same code.

table and ifd need ../shared/data and the `test` extra.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.clustering import mixture
from benchmarks.measure import machine, peak_gib
from benchmarks.start import server
from crowdselect_core.selection.methods.deita import dissimilar
from crowdselect_core.selection.methods.k_center import k_center_distances

WIDTH, PICKS, FILTERED = 384, 1_000, 20_000
DATA = Path("../shared/data")
ZOO, CROWD = DATA / "alpaca_zoo/zoo.parquet", DATA / "alpaca_zoo/crowd.yaml"
MODEL, ANSWERS = "Qwen1.5-7B-Chat", 24
REWARD, TEACHER, TARGETS = "MiniLM-BT", "Qwen1.5-110B-Chat", 16
BATCH_TOKENS, CONTEXT = 8192, 512
BUDGET, FEW, FEW_BUDGET = 100, 24, 10


def main() -> None:
    """Print the figures of a part."""
    parser = argparse.ArgumentParser(description="What the rival methods cost and choose.")
    parser.add_argument("part", nargs="?", choices=PARTS, default="table")
    PARTS[parser.parse_args().part]()


@dataclass(frozen=True)
class Run:
    """What a method chose of the zoo, and what that took."""

    name: str
    chosen: set[str]
    cost: dict[str, int]
    cpu: float


def table() -> None:
    """Print a line for every method."""
    print(machine("polars", "scikit-learn", "torch", "transformers"), flush=True)
    with tempfile.TemporaryDirectory() as name, server(Path(name) / "home") as environment:
        folder = Path(name)
        os.environ |= environment | {"OMP_NUM_THREADS": "1"}
        zoo, targets, model = with_columns(folder), mt_bench_targets(folder), smollm2()
        deita = ["--deita-complexity", "complexity", "--deita-quality", "quality"]
        common = {
            "crowdselect": [], "crowdselect ": [], "random": [], "reward": [],
            "length": [], "length response": ["--length-of", "response"],
            "k-center": [], "deita": deita, "teacher": ["--teacher-model", TEACHER],
            f"column:{TEACHER}.{REWARD}": [],
        }  # fmt: skip
        heavy = {
            "crowdselect": [],
            "length response": ["--length-of", "response"],
            "ifd superfiltering": ["--ifd-model", model, "--ifd-variant", "superfiltering"],
            "rds+": ["--rds-model", model, "--rds-targets", str(targets)],
        }
        rows = pq.read_metadata(zoo).num_rows
        listed(folder, zoo, common, rows, BUDGET, [])
        listed(folder, zoo, heavy, FEW, FEW_BUDGET, ["--limit", str(FEW)])


def listed(
    folder: Path, zoo: Path, methods: dict[str, list[str]], rows: int, budget: int, more: list[str]
) -> None:
    """Print what each method chooses of some rows, beside what crowdselect does."""
    print(f"\n{budget} of {rows} rows; by chance {budget * budget / rows:.0f} are the same")
    print("| method | CPU s | answers | scores | rows read by a model | same as crowdselect |")
    print("|---|---|---|---|---|---|", flush=True)
    ours: set[str] = set()
    for name, flags in methods.items():
        run = selected(folder, zoo, name, [*flags, *more, "--budget", str(budget)])
        ours = ours or run.chosen
        told = [run.cost[key] for key in ("answers", "scores", "annotated")]
        cells = [
            name if name != "crowdselect " else "crowdselect again", f"{run.cpu:.1f}",
            *(f"{n:,}" for n in told), f"{len(run.chosen & ours)} of {budget}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def selected(folder: Path, zoo: Path, name: str, flags: list[str]) -> Run:
    """Select by one method, through the command."""
    out = folder / "out"
    command = [
        sys.executable, "-m", "flows.select", "--dataset", str(zoo), "--crowd", str(CROWD),
        "--reward-model", REWARD, "--method", name.split()[0], "--store", str(folder / "store"),
        "--out", str(out), "--quiet", *flags,
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{name} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    chosen = set(pl.read_parquet(out / "selection.parquet")["instruction_id"])
    cost = json.loads((out / "manifest.json").read_text())["summary"]["cost"]
    return Run(name, chosen, cost, cpu)


def with_columns(folder: Path) -> Path:
    """Write the zoo with the two columns that stand in for Deita's grades."""
    table = pl.read_parquet(ZOO)
    models = [name for name, kind in table.schema.items() if isinstance(kind, pl.Struct)]
    mean = pl.mean_horizontal(pl.col(name).struct.field(REWARD) for name in models)
    told = table.with_columns(
        complexity=pl.col("instruction").str.split(" ").list.len().cast(pl.Float64),
        quality=mean - mean.min() + 1,
    )
    told.write_parquet(folder / "zoo.parquet")
    return folder / "zoo.parquet"


def mt_bench_targets(folder: Path) -> Path:
    """Write the first turns of some questions of MT-Bench as targets."""
    lines = (DATA / "mt_bench/question.jsonl").read_text("utf-8").splitlines()
    turns = [json.loads(line)["turns"][0] for line in lines[:: len(lines) // TARGETS][:TARGETS]]
    path = folder / "targets.jsonl"
    path.write_text("".join(json.dumps({"instruction": turn}) + "\n" for turn in turns))
    return path


def smollm2() -> str:
    """Return the folder of SmolLM2-135M-Instruct, unpacked on first use."""
    from crowdselect_core.config.finetune import TrainingConfig
    from crowdselect_core.finetune.base_model import base_model

    return base_model(TrainingConfig(base_model="sample:smollm2")).source


def speed() -> None:
    """Print how long k-center and Deita's filter take."""
    print(machine("numpy"))
    vectors_ND = mixture(100_000, WIDTH)
    started = time.perf_counter()
    distances_N = k_center_distances(vectors_ND, PICKS)
    seconds = time.perf_counter() - started
    assert np.isfinite(distances_N).all()
    print(f"k-center  {PICKS:,} of {len(vectors_ND):,} x {WIDTH}: {seconds:.1f} s")
    started = time.perf_counter()
    kept = int(dissimilar(vectors_ND[:FILTERED], 0.9).sum())
    seconds = time.perf_counter() - started
    print(f"deita     {FILTERED:,} x {WIDTH}: {seconds:.1f} s, {kept:,} kept")
    print(f"peak      {peak_gib():.2f} GiB")


def ifd() -> None:
    """Print how long IFD takes in batches by length and one row at a time."""
    import torch

    from crowdselect_core.annotate.ifd import cherry_pair, pair_losses
    from crowdselect_core.models.chat_templates import padding_id
    from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer

    gguf = find_gguf()
    model, tokenizer = load_model(gguf, torch.float32), load_tokenizer(gguf)
    rows = pq.read_table(ZOO, columns=["instruction", MODEL]).to_pylist()[:ANSWERS]
    pairs = [
        cherry_pair(tokenizer, row["instruction"], "", row[MODEL]["content"], CONTEXT)
        for row in rows
    ]
    pad_id = padding_id(tokenizer)
    pair_losses(model, pad_id, pairs[:1], BATCH_TOKENS)  # warm
    started = time.perf_counter()
    batched = pair_losses(model, pad_id, pairs, BATCH_TOKENS)
    by_length = time.perf_counter() - started
    started = time.perf_counter()
    single = [loss for pair in pairs for loss in pair_losses(model, pad_id, [pair], 1)]
    one_by_one = time.perf_counter() - started
    worst = max(
        abs(a - b) for x, y in zip(batched, single, strict=True)
        for a, b in zip(x, y, strict=True) if a is not None and b is not None
    )  # fmt: skip
    print(machine("torch", "transformers"))
    print(f"ifd       {ANSWERS} rows, batches by length: {by_length:.1f} s")
    print(f"ifd       {ANSWERS} rows, one at a time: {one_by_one:.1f} s")
    print(f"ifd       {one_by_one / by_length:.2f} times as fast; losses differ by {worst:.1e}")


PARTS = {"table": table, "speed": speed, "ifd": ifd}

if __name__ == "__main__":
    main()
