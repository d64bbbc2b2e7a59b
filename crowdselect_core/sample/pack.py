"""Make `zoo.parquet` of what `examples/cpu.yaml` left in OUT: real answers of small models, scored.

    python -m flows.generate --config examples/cpu.yaml
    python -m flows.score --config examples/cpu.yaml
    python -m crowdselect_core.sample.pack --answers out

One row per instruction of the sample, and one struct column per crowd model. `make sample` does
all of it, the models included.
"""

import argparse
from pathlib import Path

import polars as pl

HERE = Path(__file__).parent
INSTRUCTIONS, ZOO = HERE / "instructions.jsonl", HERE / "zoo.parquet"
COLUMNS = ("uuid", "instruction", "topic", "grade")
REWARD = "pmi"


def pack(answers: Path) -> pl.DataFrame:
    """Return the zoo of a folder with responses.parquet and scores.parquet.

    Raises:
        ValueError: an instruction that a model has not answered.
    """
    rows = pl.read_ndjson(INSTRUCTIONS).select(COLUMNS)
    responses = pl.read_parquet(answers / "responses.parquet").filter(pl.col("sample") == 0)
    scores = pl.read_parquet(answers / "scores.parquet").filter(pl.col("reward_model") == REWARD)
    pair = ["instruction_id", "model"]
    scored = responses.join(
        scores.select(*pair, pl.col("score").alias(REWARD)), on=pair, how="left"
    )
    told = pl.struct(pl.col("text").alias("content"), "finish_reason", REWARD)
    zoo = rows
    for model in responses["model"].unique(maintain_order=True):
        own = scored.filter(pl.col("model") == model)
        column = own.select(pl.col("instruction_id").alias("uuid"), told.alias(model))
        zoo = zoo.join(column, on="uuid", how="left", maintain_order="left")
        if absent := zoo[model].null_count():
            raise ValueError(f"{answers}: {model} has no answer to {absent} instructions")
    return zoo


def summary(zoo: pl.DataFrame) -> str:
    """Return the table of the README, measured from a zoo."""
    lines = [
        "| model | mean pmi | mean length (words) | cut at the limit | empty |",
        "|---|---|---|---|---|",
    ]
    for model in zoo.columns[len(COLUMNS) :]:
        own = zoo[model].struct.unnest()
        pmi, words, cut, empty = own.select(
            pl.col(REWARD).mean(),
            pl.col("content").str.count_matches(r"\S+").mean().alias("words"),
            (pl.col("finish_reason") == "length").mean().alias("cut"),
            (pl.col("content") == "").sum().alias("empty"),
        ).row(0)
        lines.append(f"| {model} | {pmi:+.3f} | {words:.1f} | {cut:.0%} | {empty} |")
    return "\n".join(lines)


def main() -> None:
    """Write the zoo, or with `--summary` only describe the one that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", type=Path, default=Path("out"), help="OUT of the two flows")
    parser.add_argument("--out", type=Path, default=ZOO, help="the parquet file to write")
    parser.add_argument("--summary", action="store_true", help="describe --out and stop")
    options = parser.parse_args()
    if not options.summary:
        pack(options.answers).write_parquet(options.out, compression_level=19)
    print(summary(pl.read_parquet(options.out)))


if __name__ == "__main__":
    main()
