"""Benchmarks without a judge, killed on the way: nothing that was answered or scored is lost."""

import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from command import Command, until
from endpoints import model, serving, write_work
from servers import S3Server
from tinymodel import write_tiny

from crowdselect_core.store.backend.open import open_backend

pytestmark = [pytest.mark.server, pytest.mark.model]

ROWS, CONCURRENCY, DELAY = 40, 2, 60  # DELAY: milliseconds of an answer
PER_KILL = CONCURRENCY * (1 + 1000 // DELAY)  # in flight, and the answers of the last second
SCORE_SECONDS = 0.05
SCORES_PER_KILL = 1 + round(1 / SCORE_SECONDS)
LENGTH = """
import time
from pathlib import Path

def length(prompts, completions, **columns):
    text = completions[0][0]["content"]
    digest = hashlib.sha256((prompts[0][0]["content"] + text).encode()).hexdigest()
    with Path("scored.txt").open("a") as file:
        file.write(digest + chr(10))
    time.sleep(0.05)
    return [float(len(text))]
"""


def write_config(folder: Path, tiny: Path, url: str, store: str, out: str) -> Path:
    """Write a live crowd, of whose best answers the held-out loss is taken, and two benchmarks."""
    engine = {"kind": "openai", "base_url": url, "concurrency": CONCURRENCY, "max_retries": 3}
    length = {"name": "length", "kind": "function", "path": "my_checks:length", "workers": 1}
    config = write_work(
        folder, ROWS, [model(f"m{i}", i + 1, url, engine=engine) for i in range(2)],
        heldout={"share": 0.4, "answers": "best"}, store=store, out=out,
        evaluation={
            "engine": {"kind": "transformers", "dtype": "float32"},
            "models": [{"name": "other", "engine": engine}],
            "benchmarks": [
                {"kind": "heldout-loss"},
                {"kind": "reward-win-rate", "reward_model": length, "baseline": "other",
                 "max_tokens": 8},
            ],
        },
    )  # fmt: skip
    checks = folder / "my_checks.py"
    checks.write_text(checks.read_text() + LENGTH)
    keys = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**keys, "model": str(tiny)}))
    return config


def scored(folder: Path) -> Counter[str]:
    """Return how often each answer was scored by `length`."""
    file = folder / "scored.txt"
    return Counter(file.read_text().splitlines() if file.exists() else [])


def table(stage: Path) -> pl.DataFrame:
    """Return the only table of a stage."""
    return pl.concat([pl.read_parquet(part) for part in sorted(stage.glob("*/part-*.parquet"))])


def test_killed_in_a_bucket_they_end_as_undisturbed_in_a_folder(
    command: Command, tmp_path: Path, s3: S3Server
) -> None:
    tiny = write_tiny(tmp_path / "tiny", max_position_embeddings=2048)
    evaluate = command.of("evaluate").with_models()
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    bucket = f"s3://{s3.bucket}/{uuid.uuid4().hex}"
    environment = s3.environment()
    with serving(tmp_path / "calm-endpoint") as endpoint:
        config = write_config(calm, tiny, endpoint.url, "store", "out")
        dry = evaluate.within(calm).run("--config", config, "--dry-run").ended(0).stdout
        for name in ("m0", "m1"):
            assert f"answers    to the held-out prompts, {name}: " in dry
        assert "scores     of the held-out answers, words (function): " in dry
        assert not endpoint.asked
        evaluate.within(calm).run("--config", config).ended(0)
        undisturbed = endpoint.asked
    rows = table(calm / "store" / "zoo").join(
        table(calm / "store" / "heldout-answers"), on="instruction_id"
    )
    assert 0 < rows.height < ROWS
    for row in rows.iter_rows(named=True):
        best = max(("m0", "m1"), key=lambda name: row[name]["words"])
        assert (row["model"], row["answer"]) == (best, row[best]["content"])
    with serving(tmp_path / "endpoint", "--delay", str(DELAY)) as endpoint:
        config = write_config(killed, tiny, endpoint.url, f"{bucket}/store", f"{bucket}/out")
        here = evaluate.within(killed)
        moments: list[Callable[[], Any]] = [
            lambda: endpoint.of("m0").total() >= 3,
            lambda: endpoint.of("other").total() >= 3,
            lambda: scored(killed).total() >= 3,
        ]
        for moment in moments:
            with here.start("--config", config, env=environment) as process:
                until(moment, process)
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        assert not open_backend(f"{bucket}/out").walk("heldout-loss")
        here.run("--config", config, env=environment).ended(0)
        asked = endpoint.asked
    assert set(asked) == set(undisturbed)
    assert set(undisturbed.values()) == {1}
    assert asked.total() - undisturbed.total() <= 3 * 2 * PER_KILL
    assert set(scored(killed)) == set(scored(calm))
    assert scored(killed).total() - scored(calm).total() <= SCORES_PER_KILL
    boards = [
        pl.read_parquet(open_backend(out).read("leaderboard.parquet"))
        for out in (str(calm / "out"), f"{bucket}/out")
    ]
    assert boards[0].equals(boards[1])
    metrics = boards[0].filter(pl.col("category").is_null()).select("benchmark", "metric", "model")
    assert set(metrics.iter_rows()) == {
        ("heldout-loss", "loss", "tiny"), ("heldout-loss", "loss_per_row", "tiny"),
        ("reward-win-rate", "win_rate", "tiny"),
    }  # fmt: skip
