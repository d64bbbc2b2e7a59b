"""The leaderboard: what judgment files come to, as one table, and OUT/leaderboard.parquet.

Output columns: benchmark, metric, category (null: all of them), model, judge (null where the files
name none), value, low, high (ends of the interval; null where there is none), n (verdicts that the
value is computed from), unparsed (verdicts that cannot be read, which nothing is computed from),
cost (null: nobody was asked). The metrics and their units stand in `mt_bench` and `arena_hard`.
"""

import io
from dataclasses import asdict, dataclass

import polars as pl

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.errors import EvaluationError
from crowdselect_core.evaluate import arena_hard, arena_rows, files, mt_bench, style
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
    arena = config.benchmark == "arena-hard"
    found = arena_rows.find(path) if arena else mt_bench.find(path)
    category_of = _categories(found, config)
    with one_thread():  # the number of cores decides no digit
        outcome = (_arena_hard if arena else _mt_bench)(found, category_of, config)
    if not outcome.results:
        raise EvaluationError(f"{path}: holds no judgment of any model but the baseline")
    rows = [asdict(result) for result in outcome.results]
    table = pl.DataFrame(rows, schema={c: t for c, t in COLUMNS.items() if c in rows[0]})
    table = table.with_columns(
        pl.lit(config.benchmark).alias("benchmark"), pl.lit(None, pl.Float64).alias("cost")
    ).select(*COLUMNS)
    order = pl.col("metric").replace_strict({m: i for i, m in enumerate(METRICS)})
    table = table.sort(
        "judge",
        order,
        "category",
        pl.col("value").neg(),
        "model",
        nulls_last=[False] * 3 + [True] * 2,
    )
    return Leaderboard(table, outcome.notes)


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


def _mt_bench(found: Benchmark, category_of: dict[str, str], config: EvaluateConfig) -> Outcome:
    return mt_bench.evaluate(found, category_of, config.baseline, config.official, config.seed)


def _arena_hard(found: Benchmark, category_of: dict[str, str], config: EvaluateConfig) -> Outcome:
    games = arena_rows.read(found, category_of, config.baseline)
    counts = style.find(found, config.style)
    return arena_hard.evaluate(games, category_of, counts, config.official, config.seed)


def _categories(found: Benchmark, config: EvaluateConfig) -> dict[str, str]:
    """Return the categories of the questions; empty where no question.jsonl is named or there."""
    if config.questions is not None:
        return files.named_categories(config.questions)
    beside = found.beside(files.QUESTIONS)
    return files.categories(found.fs, beside, beside) if beside else {}
