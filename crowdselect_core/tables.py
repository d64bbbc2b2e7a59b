"""The schema of every table that passes between stages, and the check of it.

All tables are keyed by `instruction_id`. A null metric is undefined, a null score is missing;
neither ever stands for 0.
"""

import re
from collections.abc import Mapping

import polars as pl

Columns = Mapping[str, type[pl.DataType] | pl.DataType]

INSTRUCTIONS: Columns = {
    "instruction_id": pl.String,
    "source": pl.String,  # the name of the file the row came from
    "source_row": pl.Int64,  # its place in the data set, counted over all files from 0
}
PROMPTS: Columns = {
    "instruction_id": pl.String,
    "source_row": pl.Int64,
    "prompt": pl.Binary,  # 16 bytes that name the prompt's messages; null where there is none
    "error": pl.String,  # why there is no prompt
}
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
# The rows that are set aside.
HELDOUT: Columns = {
    "instruction_id": pl.String,
    "source": pl.String,
    "source_row": pl.Int64,
    "prompt": pl.Binary,  # as in PROMPTS
    "messages": MESSAGES,  # of the prompt
}
# The rows that are left out because they resemble a held-out one.
HELDOUT_DUPLICATES: Columns = {
    "instruction_id": pl.String,
    "source": pl.String,
    "source_row": pl.Int64,
    "heldout_id": pl.String,  # of one that they resemble
}
HELDOUT_ANSWERS: Columns = {
    "instruction_id": pl.String,
    "messages": MESSAGES,  # of the prompt
    "model": pl.String,  # whose answer it is: a crowd model or a column; null without one
    "answer": pl.String,  # null where there is none that is complete
}
# What became of every request to one crowd model; the texts are in its cells.
RESPONSES: Columns = {
    "instruction_id": pl.String,
    "source_row": pl.Int64,
    "sample": pl.Int64,  # 0..n-1
    "prompt": pl.Binary,
    "cell": pl.Binary,  # 16 bytes that name the answer; null where nothing was asked
    "content": pl.Binary,  # 16 bytes of the sha256 of the text; null where there is none
    "finish_reason": pl.String,  # stop, length, ...; as OpenAI's API names them
    "characters": pl.Int64,  # of the text
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "error": pl.String,  # begins with a short code; null where there is a text
}
# What one reward model gave the answers of one crowd model.
REWARDS: Columns = {
    "instruction_id": pl.String,
    "source_row": pl.Int64,
    "sample": pl.Int64,
    "scores": pl.List(pl.Float64),  # one per head, the main one first; null where there is none
    "truncated": pl.Boolean,  # the pair was cut at the reward model's max_length
    "error": pl.String,
}
# The wide form of the scores: beside these, one Float64 column per (reward model, crowd model),
# named by `score_column`, and of a model with several samples another one, `shown_column`.
CROWD_SCORES: Columns = {
    "instruction_id": pl.String,
    "source": pl.String,
    "source_row": pl.Int64,
}
METRICS: Columns = {
    "instruction_id": pl.String,
    "n_scores": pl.Int64,  # crowd models with a score
    "difficulty": pl.Float64,  # minus the mean score; higher is harder
    "separability": pl.Float64,  # population variance, >= 0; higher: the models differ more
    "stability": pl.Float64,  # mean Spearman rho, -1..1; higher: bigger is better, consistently
    "headroom": pl.Float64,  # best score minus the student's; higher: more to learn
}
ANSWERABLE: Columns = {
    "instruction_id": pl.String,
    "answerable": pl.Boolean,  # some complete answer could be kept
    "barred": pl.String,  # why the row is out in any case; null where it is not
}
# A row for every quality gate that a row fails.
FAILURES: Columns = {
    "instruction_id": pl.String,
    "gate": pl.String,
    "detail": pl.String,  # why
    "instruction": pl.String,  # the beginnings of the two texts
    "response": pl.String,
}
# What duplicates of the instructions are looked for by.
SKETCHES: Columns = {
    "instruction_id": pl.String,
    "exact": pl.Binary,  # 16 bytes of a hash of the text; none of white space alone
    "words": pl.Binary,  # the same of its normalised words
    "shingles": pl.Int64,  # distinct word 5-grams
    "bands": pl.Array(pl.UInt64, 32),  # MinHash: texts that agree in a band are compared
}
# A row for every instruction that matches a prompt of a benchmark.
CONTAMINATED: Columns = {
    "instruction_id": pl.String,
    "benchmark": pl.String,
    "item": pl.String,  # of the benchmark
    "kind": pl.String,  # ngram, contained, equal, embedding
    "value": pl.Float64,  # share of the prompt's n-grams, or the cosine similarity; 0..1
    "shared": pl.String,  # words that both have; null of embeddings
    "instruction": pl.String,  # its beginning; null of embeddings
    "prompt": pl.String,  # its beginning
}
CLUSTERS: Columns = {
    "instruction_id": pl.String,
    "cluster_id": pl.Int64,  # 0..k-1
    "distance": pl.Float64,  # Euclidean, to the cluster's centre
}
RANKING: Columns = {
    "instruction_id": pl.String,
    "cluster_id": pl.Int64,
    "n_scores": pl.Int64,
    "difficulty": pl.Float64,
    "separability": pl.Float64,
    "stability": pl.Float64,
    "headroom": pl.Float64,
    "difficulty_q": pl.Float64,  # empirical quantile among the eligible rows, 0..1
    "separability_q": pl.Float64,
    "stability_q": pl.Float64,
    "headroom_q": pl.Float64,
    "score": pl.Float64,  # what rows are ranked by, higher first; null when not eligible
    "eligible": pl.Boolean,
    "reason": pl.String,  # why a row is not eligible; null when it is
}
SELECTION: Columns = {
    "rank": pl.Int64,  # 1 is the best
    "instruction_id": pl.String,
    "method": pl.String,
    "cluster_id": pl.Int64,
    "score": pl.Float64,
    "difficulty": pl.Float64,
    "separability": pl.Float64,
    "stability": pl.Float64,
    "headroom": pl.Float64,
    "response_model": pl.String,
    "response": pl.String,
    "messages": MESSAGES,
}
# What many selections of the same rows choose; see the stage `choices`.
CHOICES: Columns = {
    "selection": pl.String,  # key that the selection would have in the store
    "rank": pl.Int64,  # 1 is the best
    "instruction_id": pl.String,
    "response_model": pl.String,  # whose answer is kept
    "reward": pl.Float64,  # of the kept answer, combined; null without a score
    "answer_tokens": pl.Int64,  # of the kept answer, UTF-8 bytes / 4; null without texts
    "ranking": pl.String,  # key that the ranking would have in the store
    "eligible": pl.Binary,  # a bit per ranked row, in order; of the first row of a ranking alone
}
# What a reselection changed, of every row that was or is chosen.
MEMBERSHIP: Columns = {
    "instruction_id": pl.String,
    "change": pl.String,  # in, out, stayed
    "new": pl.Boolean,  # the row was not known before
    "rank_before": pl.Int64,
    "rank": pl.Int64,
    "cluster_before": pl.Int64,
    "cluster_id": pl.Int64,
    "score_before": pl.Float64,
    "score": pl.Float64,
    "why": pl.String,
}


def score_column(reward_model: str, model: str) -> str:
    """Name the column of CROWD_SCORES that holds one reward model's scores of one crowd model.

    The lengths make the name unambiguous whatever the two names hold (dots, slashes, brackets).
    """
    return f"{len(reward_model)}:{reward_model}/{model}"


def is_score_column(name: str) -> bool:
    """Tell a column that `score_column` named."""
    return re.match(r"\d+:", name) is not None


def shown_column(reward_model: str, model: str) -> str:
    """Name the column of CROWD_SCORES with the score of the one sample whose text is shown.

    It is there for models with several samples; `score_column` is the mean of theirs.
    """
    return f"shown {score_column(reward_model, model)}"


def is_shown_column(name: str) -> bool:
    """Tell a column that `shown_column` named."""
    return name.startswith("shown ")


def shown_field(reward_model: str) -> str:
    """Name the same number in a zoo: a field of the model's struct."""
    return f"{reward_model}/shown sample"


def embeddings_schema(width: int) -> Columns:
    """Return the schema of an embeddings table whose vectors have `width` components."""
    return {"instruction_id": pl.String, "vector": pl.Array(pl.Float32, width)}


def embedder_schema(width: int) -> Columns:
    """Return the schema of a lexical embedder's table, whose vectors have `width` components."""
    return {"term": pl.String, "weight": pl.Float32, "vector": pl.Array(pl.Float32, width)}


def centers_schema(width: int) -> Columns:
    """Return the schema of a table of cluster centres."""
    return {"cluster_id": pl.Int64, "vector": pl.Array(pl.Float32, width)}


def check(frame: pl.DataFrame, columns: Columns, table: str) -> pl.DataFrame:
    """Return `frame` if it has every column of `columns` with its type; extra columns may follow.

    Raises:
        TypeError: names the table, the column, the type found and the type expected.
    """
    for name, dtype in columns.items():
        found = frame.schema.get(name)
        if found is None:
            raise TypeError(f"table {table}: column {name!r} is missing, found {frame.columns}")
        if found != dtype:
            raise TypeError(f"table {table}: column {name!r} is {found}, expected {dtype}")
    return frame


METRIC_NAMES = (
    "difficulty",
    "separability",
    "stability",
    "headroom",
)  # in the order of the weights


def check_frame(found: object, table: str) -> None:
    """Raise a TypeError unless a caller brings a polars DataFrame."""
    if not isinstance(found, pl.DataFrame):
        kind = f"{type(found).__module__.partition('.')[0]} {type(found).__name__}"
        remedy = "collect() it" if isinstance(found, pl.LazyFrame) else "pass polars.DataFrame(it)"
        raise TypeError(f"{table}: found {kind}, expected a polars DataFrame: {remedy}")
