"""From instructions to a leaderboard through a Prefect server, killed five times on the way."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from command import Command, until
from endpoints import Endpoint, model, serving, write_work
from finetuned import recipe
from tinymodel import write_tiny

pytest.importorskip("trl")
pytestmark = [pytest.mark.server, pytest.mark.model]

ROWS, CONCURRENCY, DELAY = 30, 4, 30  # DELAY: milliseconds of an answer
PER_KILL = CONCURRENCY * (1 + 1000 // DELAY)  # in flight, and the answers of the last second
QUESTIONS = [
    {"question_id": i, "category": "writing", "turns": [f"Say {i}.", "Again."]} for i in range(8)
]
BOARD = "leaderboard.parquet"


def write_config(folder: Path, tiny: Path, url: str) -> Path:
    """Write instructions, a crowd that asks an endpoint, a training and two benchmarks."""
    engine = {"concurrency": CONCURRENCY, "max_retries": 3}
    crowd = [model(f"m{i}", i + 1, url, engine=engine) for i in range(2)]
    judge = {"kind": "openai", "base_url": url, "model": "judge", **engine}
    (folder / "mt").mkdir(parents=True)
    lines = [json.dumps(question) for question in QUESTIONS]
    (folder / "mt" / "question.jsonl").write_text("\n".join(lines) + "\n")
    return write_work(
        folder, ROWS, crowd, budget=8, heldout={"share": 0.3, "answers": "m1"},
        training=recipe(tiny, save_steps=1, num_train_epochs=2),
        evaluation={
            "engine": {"kind": "transformers", "dtype": "float32"},
            "calibration": 4,
            "benchmarks": [
                {"kind": "mt-bench", "path": "mt", "max_tokens": 8},
                {"kind": "heldout-loss"},
            ],
            "judges": [{"name": "judge", "engine": judge}],
        },
    )  # fmt: skip


def moments(folder: Path, endpoint: Endpoint) -> list[Callable[[], bool]]:
    """Return when the run is killed: amid answers, training, a new model, verdicts, and later."""

    def stored(stage: str) -> int:
        return len(list((folder / "store" / stage).glob("*/manifest.json")))

    def judged(least: int) -> bool:
        return endpoint.of("judge").total() >= least

    return [
        lambda: endpoint.of("m0").total() >= ROWS // 3,
        lambda: stored("checkpoint") > 0,
        lambda: stored("model") > 0,
        lambda: judged(3),
        lambda: judged(20),
    ]


def parts(stage: Path) -> list[str]:
    """Return the shards of a stage; their names hold their sha256."""
    return sorted(str(p.relative_to(stage)) for p in stage.glob("*/part-*.parquet"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model of two layers."""
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", max_position_embeddings=2048)


def test_killed_five_times_the_chain_ends_as_if_undisturbed(
    command: Command, tmp_path: Path, tiny: Path
) -> None:
    evaluate = command.of("evaluate").with_models()
    with serving(tmp_path / "calm-endpoint") as endpoint:
        config = write_config(tmp_path / "calm", tiny, endpoint.url)
        evaluate.within(tmp_path / "calm").run("--config", config).ended(0)
        undisturbed = endpoint.asked
    with serving(tmp_path / "endpoint", "--delay", str(DELAY)) as endpoint:
        folder = tmp_path / "killed"
        config = write_config(folder, tiny, endpoint.url)
        here = evaluate.within(folder)
        for moment in moments(folder, endpoint):
            with here.start("--config", config) as process:
                until(moment, process)
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        last = here.run("--config", config).ended(0)
        asked = endpoint.asked
    assert set(asked) == set(undisturbed)
    assert asked.total() - undisturbed.total() <= 5 * 2 * PER_KILL
    assert set(undisturbed.values()) == {1}
    for stage in ("selection", "heldout-answers", "model"):
        found = [parts(tmp_path / run / "store" / stage) for run in ("calm", "killed")]
        assert found[0] == found[1] != [], stage
    boards = [(tmp_path / run / "out" / BOARD).read_bytes() for run in ("calm", "killed")]
    assert boards[0] == boards[1]
    board = pl.read_parquet(tmp_path / "killed" / "out" / BOARD)
    assert {"mt-bench", "heldout-loss"} == set(board["benchmark"])
    assert (board["low"] <= board["value"]).all()
    assert (board["value"] <= board["high"]).all()
    assert "finetune" in last.stages("Cached")
