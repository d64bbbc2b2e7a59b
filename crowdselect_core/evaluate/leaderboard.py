"""The leaderboard: what benchmarks come to, as one table, and OUT/leaderboard.parquet.

Output columns: benchmark, metric, category (null: all of them), model, judge (null where nobody
judges or the files name none), value, low, high (ends of the interval; null where there is none),
n (verdicts that the value is computed from), unparsed (verdicts that cannot be read, which nothing
is computed from; of lm-eval refused answers, which count as empty ones), cost (of a model's answers
and the verdicts on them at the prices of the engines; null: nobody was asked, or no prices are
set). The metrics and their units stand in `mt_bench`, `arena_hard` and `pairwise`.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

import polars as pl

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import EvaluationError, shown
from crowdselect_core.evaluate import arena_hard, arena_rows, files, mt_bench, pairwise, style
from crowdselect_core.evaluate.files import Benchmark
from crowdselect_core.evaluate.tally import Outcome
from crowdselect_core.store import safe_parquet
from crowdselect_core.store.backend.open import open_backend
from crowdselect_core.tables import Columns
from crowdselect_core.util.single_thread import one_thread

FILE = "leaderboard.parquet"
METRICS = (
    *("turn_1", "turn_2", "average", "win_rate", "loss_rate", "win_rate_adjusted"),
    arena_hard.CONTROLLED,
)  # in the order that the table has them

COLUMNS: Columns = {
    "benchmark": pl.String,
    "metric": pl.String,
    "category": pl.String,
    "model": pl.String,
    "judge": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
    "unparsed": pl.Int64,
    "cost": pl.Float64,
}


@dataclass(frozen=True)
class Leaderboard:
    """The table, and what a reader must know of it."""

    table: pl.DataFrame
    notes: list[str]


def compute(config: EvaluateConfig) -> Leaderboard:
    """Compute a benchmark's results from its judgment files.

    Args:
        config: resolved.

    Raises:
        EvaluationError: files that are missing, damaged, or of another benchmark or version.
        StorageError: their place cannot be reached.
    """
    path = str(config.judgments)
    with one_thread():  # the number of cores decides no digit
        outcome = EVALUATORS[config.benchmark or "mt-bench"](path, config)
    if not outcome.results:
        raise EvaluationError(f"{path}: holds no judgment of any model but the baseline")
    return Leaderboard(table_of({str(config.benchmark): outcome}), outcome.notes)


def judgment_files(config: EvaluateConfig) -> list[str]:
    """Return the files whose judgments count; they are not read.

    Args:
        config: resolved.

    Raises:
        EvaluationError: nothing lies there, or no judgments.
        StorageError: their place cannot be reached.
    """
    found = FINDERS[config.benchmark or "mt-bench"](str(config.judgments))
    return [file.shown for file in found.files]


def table_of(outcomes: Mapping[str, Outcome]) -> pl.DataFrame:
    """Return the results of benchmarks as one table, in the order of the benchmarks.

    Within a benchmark: by judge, metric, category, then the best first.
    """
    rows = [
        {"benchmark": name, **asdict(result)}
        for name, outcome in outcomes.items()
        for result in outcome.results
    ]
    table = pl.DataFrame(rows, schema=dict(COLUMNS))
    places = {name: place for place, name in enumerate(outcomes)}
    metrics = {metric: place for place, metric in enumerate(METRICS)}
    return table.sort(
        pl.col("benchmark").replace_strict(places, return_dtype=pl.Int64),
        "judge",
        pl.col("metric").replace_strict(metrics, default=len(metrics), return_dtype=pl.Int64),
        "metric",
        "category",
        pl.col("value").neg(),
        "model",
        nulls_last=[False] * 5 + [True] * 2,
    )


def one_snapshot(reported: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the model that each judge's server reports.

    Args:
        reported: judge -> model, of every benchmark and of the calibration.

    Raises:
        EvaluationError: a judge was two models, whose verdicts do not stand in one table.
    """
    found: dict[str, str] = {}
    for snapshots in reported:
        for judge, model in snapshots.items():
            if found.setdefault(judge, model) != model:
                raise EvaluationError(
                    f"judge {judge!r}: the server reports different models for its verdicts "
                    f"({shown([found[judge], model])}), and these do not stand in one table: name "
                    "one of them in engine.model, by which every verdict is asked and paid for anew"
                )
    return found


def check_out(out: str) -> None:
    """Find out before the work whether the leaderboard can be written.

    Raises:
        EvaluationError: a file of that name exists that no evaluation has written.
        StorageError: OUT cannot be written.
    """
    place = open_backend(out)
    place.check_writable()
    try:
        safe_parquet.decode(place.read(FILE), schema=COLUMNS)
    except FileNotFoundError:
        return
    except safe_parquet.Unreadable as e:
        raise EvaluationError(
            f"{out.rstrip('/')}/{FILE} {e}: it was not written by an evaluation and is not "
            "overwritten; name another --out"
        ) from None


def write(out: str, table: pl.DataFrame) -> None:
    """Write OUT/leaderboard.parquet, in the place of an earlier one.

    Raises:
        EvaluationError: a file of that name exists that no evaluation has written.
        StorageError: OUT cannot be written.
    """
    check_out(out)
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    open_backend(out).replace(FILE, buffer.getvalue())


def _mt_bench(path: str, config: EvaluateConfig) -> Outcome:
    found = mt_bench.find(path)
    category_of = _categories(found, config)
    return mt_bench.evaluate(found, category_of, config.baseline, config.official, config.seed)


def _arena_hard(path: str, config: EvaluateConfig) -> Outcome:
    found = arena_rows.find(path)
    category_of = _categories(found, config)
    games = arena_rows.read(found, category_of, config.baseline)
    counts = style.find(found, config.style)
    return arena_hard.evaluate(games, category_of, counts, config.official, config.seed)


def _pairwise(path: str, config: EvaluateConfig) -> Outcome:
    found = pairwise.find(path)
    if config.questions is not None:
        category_of = files.named_categories(config.questions)
    else:
        category_of = pairwise.categories(found.fs, found.beside(files.QUESTIONS))
    return pairwise.evaluate(found, category_of, config.baseline, config.seed)


EVALUATORS: dict[str, Callable[[str, EvaluateConfig], Outcome]] = {
    "mt-bench": _mt_bench, "arena-hard": _arena_hard, "pairwise": _pairwise,
}  # fmt: skip
FINDERS: dict[str, Callable[[str], Benchmark]] = {
    "mt-bench": mt_bench.find, "arena-hard": arena_rows.find, "pairwise": pairwise.find,
}  # fmt: skip


def _categories(found: Benchmark, config: EvaluateConfig) -> dict[str, str]:
    """Return the categories of the questions; empty where no question.jsonl is named or there."""
    if config.questions is not None:
        return files.named_categories(config.questions)
    beside = found.beside(files.QUESTIONS)
    return files.categories(found.fs, beside, beside) if beside else {}
