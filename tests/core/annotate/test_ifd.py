"""IFD as the two published codes compute it, on real answers by a real small model."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from crowdselect_core.annotate.ifd_values import ifd, ifd_values
from crowdselect_core.config.method_models import IfdConfig

pytestmark = pytest.mark.model

DATA = Path(__file__).parents[4] / "shared" / "data"
there = pytest.mark.skipif(not (DATA / "ifd").exists(), reason="../shared/data/ifd is not here")
REASONS = {
    None: None, "too long": "ifd_too_long", "no answer token left": "ifd_no_token",
    "empty output": "ifd_no_token", "one token: no loss alone": "ifd_one_token",
    "above 1": None,  # follows from the number
}  # fmt: skip
SHORT = 60  # tokens of the answers that are compared beside the edge rows


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    pytest.importorskip("gguf")
    from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer

    gguf = find_gguf()
    # The expected numbers are of the folder that `sample.variants` writes, whose weights are
    # bfloat16, read as float32. Unrounded, they are up to 0.6% off.
    return load_model(gguf, torch.bfloat16).float(), load_tokenizer(gguf)


def rows_of(expected: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    edges = {e["uuid"]: e for e in json.loads((DATA / "ifd" / "edges.json").read_text())}
    zoo = {r["uuid"]: r for r in pq.read_table(DATA / "alpaca_zoo" / "zoo.parquet").to_pylist()}
    found = []
    for one in expected:
        if edge := edges.get(one["uuid"]):
            found.append((edge["instruction"], edge["input"], edge["output"]))
        else:
            row = zoo[one["uuid"]]
            found.append((row["instruction"], "", row[one["model"]]["content"]))
    return found


@there
@pytest.mark.parametrize(
    ("variant", "most", "number", "reason"),
    [
        ("cherry", 512, "cherry_ifd", "cherry_reason"),
        ("superfiltering", 1024, "super_ifd_ppl", "super_reason"),
    ],
)
def test_ifd_is_the_published_codes(
    model: tuple[Any, Any], variant: str, most: int, number: str, reason: str
) -> None:
    """Within 1e-4; a row without a number there has none here, or keeps it beside its reason."""
    from crowdselect_core.annotate.ifd import PAIRS, pair_losses
    from crowdselect_core.models.chat_templates import padding_id

    told = json.loads((DATA / "ifd" / "expected.json").read_text())["rows"]
    expected = [
        r for r in told
        if r["uuid"].startswith("edge") or (r.get("cherry_tokens") or SHORT) < SHORT
    ]  # fmt: skip
    expected = [r for r in expected if not r["uuid"].startswith("edge")][:3] + [
        r for r in expected if r["uuid"].startswith("edge")
    ]
    pairs = [PAIRS[variant](model[1], *row, most) for row in rows_of(expected)]
    losses = pair_losses(model[0], padding_id(model[1]), pairs, 2048)
    compared = 0
    for one, pair, found in zip(expected, pairs, losses, strict=True):
        assert pair.reason == REASONS[one.get(reason)], one["uuid"]
        if one.get(number) is not None:
            assert ifd(variant, *found) == pytest.approx(one[number], rel=1e-4), one["uuid"]
            compared += 1
    assert compared == 6  # 3 answers, and 3 edge rows with a number


def test_a_dropped_row_keeps_its_number() -> None:
    """Cherry drops above 1 and keeps 1; Superfiltering drops 1 too; an error comes first."""
    cells = pl.DataFrame(
        {
            "loss_given": [1.0, 2.0, 3.0, 3.0, None],
            "loss_alone": [2.0, 2.0, 2.0, 2.0, 1.0],
            "tokens": [5, 5, 5, 5, 5],
            "error": [None, None, None, "ifd_too_long", None],
        },
        schema_overrides={"error": pl.String},
    )
    cherry = ifd_values(IfdConfig(), cells)
    assert cherry["ifd"].to_list() == [0.5, 1.0, 1.5, 1.5, None]
    assert cherry["lacks"].to_list() == [
        None, None, "ifd_above_1", "ifd_too_long", "ifd_undefined",
    ]  # fmt: skip
    other = ifd_values(IfdConfig(variant="superfiltering"), cells)
    assert other["ifd"][0] == pytest.approx(0.36787944)  # exp(1 - 2)
    assert other["lacks"].to_list()[:3] == [None, "ifd_not_below_1", "ifd_not_below_1"]


def test_a_text_of_many_bytes_is_not_tokenised_whole(model: tuple[Any, Any]) -> None:
    from crowdselect_core.models.prefix_tokens import encoded

    class Counting:
        longest = 0

        def encode(self, text: str, **how: Any) -> list[int]:
            self.longest = max(self.longest, len(text))
            ids: list[int] = model[1].encode(text, **how)
            return ids

    counting = Counting()
    text = "word and word, " * 700_000
    assert encoded(counting, text, 100) == model[1].encode(text[:3000])[:100]
    assert counting.longest < 20_000
