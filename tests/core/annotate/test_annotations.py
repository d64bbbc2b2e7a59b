"""A model's word of every row: asked once, cached per row, laid out for the ranking."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from filling import Filling
from little import KEYS, parquet, rows
from tinymodel import write_tiny

from crowdselect_core.config.load import load
from crowdselect_core.config.method_models import RdsConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.store.artifacts import Store
from flows.select import chosen

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"), max_position_embeddings=512)


def ranked(folder: Path, count: int = 12, **keys: Any) -> tuple[pl.DataFrame, Filling]:
    """Return the ranking of a little zoo, and what was asked for it."""
    path = parquet(folder / f"zoo-{count}.parquet", rows(count))
    given = KEYS | {"dataset": str(path), "clusters": 0, "store": str(folder / "store")} | keys
    config = load(None, given, {})
    run = Filling(Store(config.store))
    inputs = chosen(config, run=run).inputs
    return inputs.ranking.open(run.store).frame(), run


def test_ifd_of_every_row_is_computed_once(tiny: Path, tmp_path: Path) -> None:
    keys = {"method": "ifd", "ifd": {"model": str(tiny)}}
    table, run = ranked(tmp_path, **keys, budget=1)
    [calls] = run.calls
    assert calls.planned == table["ifd"].count() == calls.answered > 8
    for row in table.filter(pl.col("ifd").is_not_null()).iter_rows(named=True):
        assert row["eligible"] == (row["ifd"] <= 1)
        assert row["reason"] == (None if row["ifd"] <= 1 else "ifd_above_1")
        assert row["score"] == (row["ifd"] if row["ifd"] <= 1 else None)
    again, run = ranked(tmp_path, count=14, **keys, budget=1)  # two rows more
    assert run.calls[0].planned <= 2
    assert run.calls[0].cached == calls.planned
    assert again.head(12)["ifd"].to_list() == table["ifd"].to_list()
    other, run = ranked(
        tmp_path, method="ifd", ifd={"model": str(tiny), "variant": "superfiltering"}, budget=1
    )
    assert run.calls[0].cached == 0  # another definition, other cells
    assert other["ifd"].to_list() != table["ifd"].to_list()


def test_rds_takes_a_row_like_the_target_first(tiny: Path, tmp_path: Path) -> None:
    """A target that is one of the rows with its kept answer has a cosine of 1 to it."""
    table = rows(12)
    best = next(
        (r, name)
        for r in table
        for name in [max(scored(r), key=lambda n, row=r: row[n]["RM-v0.1"])]
        if (r[name]["content"] or "").strip()
    )
    targets = tmp_path / "targets.jsonl"
    example = {"instruction": best[0]["instruction"], "output": best[0][best[1]]["content"]}
    targets.write_text(json.dumps(example) + "\n")
    found, run = ranked(
        tmp_path, method="rds+", rds={"model": str(tiny), "targets": str(targets)}, budget=4
    )
    first = found.sort("score", descending=True, nulls_last=True).row(0, named=True)
    assert first["instruction_id"] == best[0]["uuid"]
    assert first["target_similarity"] == pytest.approx(1.0, abs=1e-4)
    picked = found.filter(pl.col("score") >= 1)
    assert sorted(picked["score"].to_list()) == [1, 2, 3, 4]
    rest = found.filter(pl.col("score") <= 0)
    assert rest["score"].to_list() == pytest.approx((rest["target_similarity"] - 1).to_list())
    assert run.calls[0].planned == found["target_similarity"].count()  # the target is a row


def test_a_target_that_the_template_refuses_is_told_before_a_row_is_read(tmp_path: Path) -> None:
    from crowdselect_core.annotate.hidden_states import HiddenStateAnnotator

    model = write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny" / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    targets = tmp_path / "targets.jsonl"
    system = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    targets.write_text('{"instruction": "a"}\n')
    config = RdsConfig(model=str(model), targets=str(targets))
    HiddenStateAnnotator(config).check()
    targets.write_text(f'{{"instruction": "a"}}\n{json.dumps(system)}\n')
    with pytest.raises(ConfigError, match=r"example 2: .*no system"):
        HiddenStateAnnotator(config).check()


def scored(row: dict[str, Any]) -> list[str]:
    """The models that have a score in a row."""
    return [m["name"] for m in KEYS["crowd"] if row[m["name"]]["RM-v0.1"] is not None]


def test_the_mean_is_weighted_by_position(tiny: Path) -> None:
    """Three tokens: (1 h1 + 2 h2 + 3 h3) / 6, whatever stands in the batch beside them."""
    import torch
    from transformers import AutoModelForCausalLM

    from crowdselect_core.annotate.hidden_states import mean_states

    model = AutoModelForCausalLM.from_pretrained(tiny).eval()
    with torch.inference_mode():
        told = model(torch.tensor([[5, 9, 300]]), output_hidden_states=True)
    h = told.hidden_states[-1][0]
    mean = (h[0] + 2 * h[1] + 3 * h[2]) / 6
    expected = (mean / mean.norm()).tolist()
    for others in ([], [[7, 8, 9, 10, 11, 12]]):
        [found, *_] = mean_states(model, [[5, 9, 300], *others], 0, 4096)
        assert found == pytest.approx(expected, abs=1e-5)
        assert math.fsum(v * v for v in found or []) == pytest.approx(1)
