"""What the tables of the paper take: cells, trainings, judge calls, hours on 8 GPUs and money.

    python -m benchmarks.paper --mt-bench data/mt_bench --arena-hard data/arena-hard-v0.1
        [--tables table1 table2 ...] [--run FOLDER]

The grids are `examples/paper/*.yaml`, and cells, steps, answers, verdicts and prices are counted by
the code of `flows.experiment --dry-run`; nothing is downloaded or asked. What that code would
measure in a first run (rates, lengths) or know from the data set is a flag here, with its reason in
`--help`, and printed. Untuned models and the anchor of Arena-Hard are answered and judged once,
trained ones each. Not counted: embedding and clusters of the pool (minutes), loading, retries.

`--run` runs each grid to its end on a CPU instead, as tests/integration/test_paper_grid.py does
with one: random models of two layers, 60 rows, budgets of 4 rows, two questions a benchmark, the
test endpoint as judge. It takes minutes a table, and more for the wide ones.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from crowdselect_core.annotate.base import Row
from crowdselect_core.annotate.factory import annotates, kind_of
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.load import load
from crowdselect_core.evaluate import forecast
from crowdselect_core.evaluate.benchmarks.factory import open_benchmark
from crowdselect_core.evaluate.candidates import TRAINED, Candidate
from crowdselect_core.evaluate.sources import short_name
from crowdselect_core.experiment.cells import Cell
from crowdselect_core.experiment.grid import Grid, grid
from crowdselect_core.models.token_count import BYTES_A_TOKEN
from crowdselect_core.planning.evaluation_forecast import quiet_tools

ROOT = Path(__file__).parent.parent
GRIDS = ROOT / "examples" / "paper"
TABLES = sorted((p.stem for p in GRIDS.glob("*.yaml")), key=lambda n: int(n.removeprefix("table")))
GPUS = 8


@dataclass(frozen=True)
class Work:
    """What a table, or a part of its evaluations, takes."""

    cells: int = 0
    trainings: int = 0
    steps: int = 0
    trained_tokens: float = 0.0
    read_tokens: float = 0.0  # by a model that runs on our GPUs and writes nothing (IFD)
    answers: int = 0
    written_tokens: float = 0.0  # by the evaluated models
    verdicts: int = 0
    annotations: int = 0  # requests of InsTag and direct-score
    asked_money: float = 0.0  # at the prices of the file

    def __add__(self, other: "Work") -> "Work":
        own, more = vars(self), vars(other)
        return Work(**{name: own[name] + more[name] for name in own})

    def times(self, n: int) -> "Work":
        """Return so many of the same."""
        return Work(**{name: value * n for name, value in vars(self).items()})


def main() -> None:
    args = arguments()
    if args.run is not None:
        for name in args.tables:
            run(name, args.run)
        return
    if args.mt_bench is None or args.arena_hard is None:
        sys.exit("paper: name the folders of the questions by --mt-bench and --arena-hard")
    print(assumptions(args))
    print(HEAD)
    whole = Work()
    for name in args.tables:
        work = table(name, args)
        whole += work
        print(line(name, work, args))
    print(line("all", whole, args))


# Flags, their defaults, and why: what a first run measures, or the data set and a bill tell.
ASSUMED: dict[str, tuple[float, str]] = {
    "rows": (100_000, "of the pool: Magpie-100K-Generator-Zoo"),
    "row-tokens": (700, "of a chosen row, prompt and answer; a pilot's training.json has them"),
    "prompt-tokens": (60, "of these, those of the prompt"),
    "train-rate": (6_000, "trained tokens/s of a GPU: a model of 3.2 billion parameters takes 6 x "
                   "3.2e9 FLOP a token, so this is 1.2e14 FLOP/s, 12 %% of the 989 TFLOP/s (bf16, "
                   "dense) that NVIDIA states for an H100; an Adam step every two rows"),
    "read-rate": (36_000, "tokens/s of a GPU that reads (IFD): a third of the FLOP, large batches"),
    "answer-rate": (4_000, "written tokens/s of a GPU that answers in large batches"),
    "answer-tokens": (600, "of an answer"),
    "verdict-tokens": (500, "of a verdict"),
    "gpu-hour": (2.5, "price of a GPU for an hour: put in what you pay"),
}  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tables", nargs="+", choices=TABLES, default=TABLES, metavar="TABLE")
    add("--mt-bench", help="folder of FastChat's question.jsonl")
    add("--arena-hard", help="folder of Arena-Hard v0.1")
    add("--run", type=Path, metavar="FOLDER", help="run the grids with stand-ins, there")
    for name, (default, why) in ASSUMED.items():
        add(f"--{name}", type=type(default), default=default, help=f"assumed: {why}")
    return parser.parse_args()


def assumptions(args: argparse.Namespace) -> str:
    """Return what was assumed, to be printed."""
    told = ", ".join(f"--{n} {getattr(args, n.replace('-', '_')):,g}" for n in ASSUMED)
    return f"assumed (see --help): {told}; prices of judge and annotators: those of the files\n"


HEAD = """\
| table | trained cells x seeds | steps | judge calls | judge and annotators, $ | \
GPU hours: training, answers | hours on 8 GPUs | GPUs, $ | in all, $ |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def line(name: str, work: Work, args: argparse.Namespace) -> str:
    """Return a row of the table."""
    training = (work.trained_tokens / args.train_rate + work.read_tokens / args.read_rate) / 3600
    answering = work.written_tokens / args.answer_rate / 3600
    hours = training + answering
    gpus, asked = hours * args.gpu_hour, f"{work.asked_money:,.0f}"
    if work.annotations:
        asked += f" ({work.annotations:,} annotations)"
    return (
        f"| {name} | {work.cells:,} x 3 = {work.trainings:,} | {work.steps:,} | "
        f"{work.verdicts:,} | {asked} | {training:,.1f} + {answering:,.1f} | "
        f"{hours / GPUS:,.1f} | {gpus:,.0f} | {gpus + work.asked_money:,.0f} |"
    )


def table(name: str, args: argparse.Namespace) -> Work:
    """Count the work of one table."""
    config = load(str(GRIDS / f"{name}.yaml"), overrides(name, args), environ={}, flow="experiment")
    found, work = grid(config, args.rows), Work()
    seeds = len(found.replicates)
    once: dict[str, Work] = {}  # by the model that is measured, whatever the cells beside it are
    known: dict[str, dict[str, Work]] = {}  # by base model: all else is the same for all cells
    for cell in found.choosing:
        base = str(cell.config.training and cell.config.training.base_model)
        measured = known[base] = known.get(base) or evaluated(cell)
        work += (trained(cell, args) + measured[TRAINED]).times(seeds)
        once |= {name: part for name, part in measured.items() if name != TRAINED}
    work += Work(cells=len(found.choosing)) + annotated(found, args)
    return sum(once.values(), work)


def overrides(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys of a grid that the assumptions and the folders of questions set."""
    told = yaml.safe_load((GRIDS / f"{name}.yaml").read_text("utf-8"))["evaluation"]
    paths = {"mt-bench": args.mt_bench, "arena-hard": args.arena_hard}
    benchmarks = [
        b | {"path": paths[b["kind"]], "max_tokens": args.answer_tokens} for b in told["benchmarks"]
    ]
    judges = [j | {"sampling": {"max_tokens": args.verdict_tokens}} for j in told["judges"]]
    return {"evaluation": {"benchmarks": benchmarks, "judges": judges}}


def trained(cell: Cell, args: argparse.Namespace) -> Work:
    """Count one training."""
    training, rows = cell.config.training, cell.config.budget
    if training is None or not isinstance(rows, int):
        raise SystemExit(f"paper: {cell.name} trains on no number of rows")
    texts = 2 if training.on_pairs else 1  # a pair is two answers, each with the prompt
    tokens = rows * args.row_tokens * training.num_train_epochs * texts
    return Work(trainings=1, steps=training.steps(rows), trained_tokens=tokens)


def evaluated(cell: Cell) -> dict[str, Work]:
    """Count the answers and verdicts of a cell by the model that they are of.

    The bill is that of the dry run; a judge's is divided among the models by their verdicts, and
    its calibration is an entry of its own.
    """
    config = cell.config
    if not isinstance(config, EvaluateConfig) or config.training is None:
        raise SystemExit(f"paper: {cell.name} is not evaluated")
    with tempfile.TemporaryDirectory() as empty:
        tools = quiet_tools(config.model_copy(update={"store": empty}), str)
        benchmarks = [open_benchmark(b, config) for b in tools.evaluation.benchmarks]
        base = Candidate(name=short_name(config.training.base_model), role="base", weights="base")
        others = [
            Candidate(name=short_name(m.model or m.name), role="other", weights=m.name)
            for m in tools.evaluation.models
        ]
        bills = forecast.bills(benchmarks, [base, *others], tools)
    models = {model.name: model.name for model in (base, *others)}
    models[f"{base.name}{TRAINED}"] = TRAINED
    found = dict.fromkeys([*models.values(), "calibration"], Work())
    for bill in bills:
        if bill.what == "answers":
            found[models[bill.name]] += Work(
                answers=bill.requests, written_tokens=bill.completion_tokens, asked_money=bill.money
            )
            continue
        own = [b for b in benchmarks if bill.name.endswith(f" on {b.name}")]
        if not own:
            found["calibration"] += Work(verdicts=bill.requests, asked_money=bill.money)
        for benchmark, (name, key) in product(own, models.items()):
            count = benchmark.verdict_count([name])  # type: ignore[attr-defined]
            share = count / bill.requests if bill.requests else 0.0
            found[key] += Work(verdicts=count, asked_money=bill.money * share)
    return found


def annotated(found: Grid, args: argparse.Namespace) -> Work:
    """Count what methods read of every row, once a model: their rows are those of the pool."""
    seen: dict[str, Work] = {}
    for cell in found.choosing:
        if not annotates(cell.config):
            continue
        kind = kind_of(cell.config)
        if kind.prompts is None:  # IFD: the answer with its prompt, and alone
            tokens = args.rows * (2 * args.row_tokens - args.prompt_tokens)
            seen[cell.config.method] = Work(read_tokens=tokens)
            continue
        prompt = "x" * (BYTES_A_TOKEN * args.prompt_tokens)
        answer = "x" * int(BYTES_A_TOKEN * (args.row_tokens - args.prompt_tokens))
        row = Row(b"", ({"role": "user", "content": prompt},), prompt, answer)
        prompts, engine = kind.prompts(cell.config, row), kind.engine(cell.config)
        section: Any = getattr(cell.config, cell.config.method.replace("-", "_"))
        read = sum(len(text) for text in prompts) / BYTES_A_TOKEN * args.rows
        written = len(prompts) * section.sampling.max_tokens * args.rows
        price = engine.price.cost(read, written, None) if engine is not None else 0.0
        seen[cell.config.method] = Work(annotations=len(prompts) * args.rows, asked_money=price)
    return sum(seen.values(), Work())


def run(name: str, folder: Path) -> None:
    """Run one grid with stand-ins to its end."""
    sys.path.append(str(ROOT / "tests"))
    from endpoints import serving  # type: ignore[import-not-found]
    from stand_ins import environment, write_stand_ins  # type: ignore[import-not-found]

    folder = folder.resolve()
    if not (folder / "data").exists():
        write_stand_ins(folder)
    started = time.monotonic()
    with serving(folder / "endpoint") as endpoint:
        more = environment(GRIDS / f"{name}.yaml", endpoint.url, budgets=[4])
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done: Sequence[str] = [sys.executable, "-m", "flows.experiment", "--config",
                               str(GRIDS / f"{name}.yaml")]  # fmt: skip
        subprocess.run(done, cwd=folder, env={**os.environ, **more, "PYTHONPATH": path}, check=True)
    print(f"{name}: {time.monotonic() - started:,.0f} s", flush=True)


if __name__ == "__main__":
    main()
