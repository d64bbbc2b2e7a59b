"""The embedded sample: what it promises; packing what the flows write gives it anew."""

from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.sample.pack import COLUMNS, INSTRUCTIONS, REWARD, ZOO, pack, summary


def written(folder: Path, zoo: pl.DataFrame) -> Path:
    """Write what `generate` and `score` would have written of a zoo, in another order."""
    answers, scores = [], []
    for model in zoo.columns[len(COLUMNS) :]:
        own = zoo.select(pl.col("uuid").alias("instruction_id"), pl.col(model)).unnest(model)
        own = own.with_columns(model=pl.lit(model), sample=pl.lit(0))
        answers.append(own.rename({"content": "text"}).drop(REWARD))
        scored = own.drop_nulls(REWARD).rename({REWARD: "score"})
        scores.append(
            scored.select("instruction_id", "model", "score", reward_model=pl.lit(REWARD))
        )
    pl.concat(answers).write_parquet(folder / "responses.parquet")
    pl.concat(scores).sample(fraction=1.0, shuffle=True, seed=0).write_parquet(
        folder / "scores.parquet"
    )
    return folder


def test_the_sample_is_whole() -> None:
    zoo = pl.read_parquet(ZOO)
    assert zoo.height == pl.read_ndjson(INSTRUCTIONS).height == 240
    assert len(zoo.columns) == len(COLUMNS) + 8
    for model in zoo.columns[len(COLUMNS) :]:
        own = zoo[model].struct.unnest()
        assert own["content"].null_count() == 0
        assert set(own["finish_reason"].unique()) <= {"stop", "length"}
        unscored = own.filter(pl.col(REWARD).is_null())
        assert set(unscored["content"].str.strip_chars().unique()) <= {""}
    assert ZOO.stat().st_size < 1_500_000


def test_the_readme_shows_the_samples_own_figures() -> None:
    assert summary(pl.read_parquet(ZOO)) in (ZOO.parent / "README.md").read_text("utf-8")


def test_packing_what_the_flows_write_gives_the_zoo(tmp_path: Path) -> None:
    zoo = pl.read_parquet(ZOO)
    assert pack(written(tmp_path, zoo)).equals(zoo)


def test_a_model_that_has_not_answered_all_is_told(tmp_path: Path) -> None:
    folder = written(tmp_path, pl.read_parquet(ZOO))
    answers = pl.read_parquet(folder / "responses.parquet")
    answers[1:].write_parquet(folder / "responses.parquet")
    with pytest.raises(ValueError, match="has no answer to 1 instructions"):
        pack(folder)
