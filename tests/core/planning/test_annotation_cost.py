"""The bill of a method's model beforehand is what the run then asks."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoints import Endpoint, serving
from filling import Filling
from little import KEYS, parquet, rows

from crowdselect_core.config.load import load
from crowdselect_core.config.quality import QualityConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.base import Answer, Request
from crowdselect_core.generate.openai.engine import OpenAIEngine
from crowdselect_core.models.token_count import estimate
from crowdselect_core.planning.annotation_cost import most_bill
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.planning.missing_work import MissingWork
from crowdselect_core.store.artifacts import Store
from flows.select import gated, ranked

PRICE = {"input": 2e6, "output": 1e6}  # 2 a prompt token, 1 a completion token


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with serving(tmp_path_factory.mktemp("endpoint")) as running:
        yield running


def config_of(folder: Path, url: str, method: str) -> SelectConfig:
    path = parquet(folder / "zoo.parquet", rows(12))
    engine = {"kind": "openai", "base_url": url, "model": method, "price": PRICE}
    own: dict[str, Any] = {"engine": engine, "sampling": {"max_tokens": 50}, "max_unparsed": 1.0}
    if method == "instag":
        own["min_frequency"] = 1
    given = KEYS | {
        "dataset": str(path), "clusters": 0, "budget": 2, "store": str(folder / "store"),
        "method": method, method.replace("-", "_"): own,
    }  # fmt: skip
    return load(None, given, {})


def annotated(config: SelectConfig) -> str:
    [line] = [line for line in forecast(config, ranked) if line.startswith("annotated  ")]
    return line


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that go to an endpoint, as they are asked."""
    asked: list[str] = []
    real = OpenAIEngine.run

    def run(
        engine: OpenAIEngine, requests: Iterator[Request], done: Callable[[Answer], None]
    ) -> None:
        def noted() -> Iterator[Request]:
            for request in requests:
                asked.append(request.messages[0]["content"])
                yield request

        real(engine, noted(), done)

    monkeypatch.setattr(OpenAIEngine, "run", run)
    return asked


@pytest.mark.parametrize("method", ["instag", "direct-score", "deita"])
def test_the_bill_is_what_the_run_asks(
    endpoint: Endpoint, prompts: list[str], method: str, tmp_path: Path
) -> None:
    """Of an empty store the most; of one with the stages before it exactly, less what is cached."""
    some = tmp_path / "some.txt"
    some.write_text("row-000\nrow-001\nrow-002\nrow-003\n")
    config = config_of(tmp_path, endpoint.url, method)
    fresh = annotated(config)
    assert re.match(rf"annotated  {method}: at most 1[0-2] rows to read \(0 cached\), ", fresh)
    assert not (tmp_path / "store").exists()

    ranked(config.model_copy(update={"exclude": str(some)}), run=Filling(Store(config.store)))
    before = len(prompts)
    assert before == endpoint.of(method).total()
    told = annotated(config)
    ranked(config, run=Filling(Store(config.store)))
    new = prompts[before:]
    found = re.search(
        r"(\d+) rows? to read \((\d+) cached\), (\d+) requests?, ([\d,]+) prompt", told
    )
    assert found is not None
    read, cached, requests, tokens = (int(n.replace(",", "")) for n in found.groups())
    each = 2 if method == "deita" else 1
    assert (requests, read * each, cached * each) == (len(new), len(new), before)
    assert 0 < read <= 4
    assert tokens == sum(estimate(new))
    assert f"{50 * requests:,} completion tokens (at most)" in told
    assert f"{2 * tokens + 50 * requests:,}.00 at the configured prices" in told
    assert "annotations: Cached" in " ".join(forecast(config, ranked))
    assert not any(line.startswith("annotated") for line in forecast(config, ranked))


def test_a_run_that_ends_before_the_ranking_reads_nothing(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    config = config_of(tmp_path, endpoint.url, "instag")
    wanted: list[tuple[dict[str, Any], bool]] = [
        ({"broken": True}, False), ({"duplicates": ["exact"]}, True),
    ]  # fmt: skip
    for gates, reads in wanted:
        quality = QualityConfig.model_validate({**gates, "only": True})
        lines = forecast(config.model_copy(update={"quality": quality}), gated)
        assert any(line.startswith("annotated  ") for line in lines) is reads
        assert any("annotations: " in line for line in lines) is reads


def test_a_model_of_this_process_has_rows_and_no_tokens(tmp_path: Path) -> None:
    """The files stand for a model that is not loaded; the target is read beside the rows."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "targets.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    path = parquet(tmp_path / "zoo.parquet", rows(12))
    local = {"model": str(tmp_path / "model")}
    given = KEYS | {
        "dataset": str(path), "clusters": 0, "budget": 2, "store": str(tmp_path / "store"),
        "rds": local | {"targets": str(tmp_path / "targets.jsonl")}, "ifd": local,
    }  # fmt: skip
    lines = {}
    for method in ("ifd", "rds+"):
        config = load(None, given | {"method": method}, {})
        lines[method] = most_bill(config, Store(config.store), MissingWork((), ())).line
    assert lines == {
        "ifd": "ifd: at most 12 rows to read (0 cached), hours unknown: run a pilot with --limit",
        "rds+": "rds+: at most 13 rows to read (0 cached), hours unknown: run a pilot with --limit",
    }
