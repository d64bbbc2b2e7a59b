"""A live evaluation as a user runs it: a trained tiny model, its base, an endpoint, a judge."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from command import Command
from endpoints import serving
from finetuned import recipe, train_file
from runs import Server
from tinymodel import write_tiny

pytestmark = [pytest.mark.server, pytest.mark.model]

QUESTIONS = [
    {"question_id": i, "category": "writing", "turns": [f"Say {i}.", "Again."]} for i in range(6)
]


def write_config(folder: Path, url: str) -> Path:
    """Write the files of an evaluation and its config."""
    base = write_tiny(folder / "tiny", max_position_embeddings=2048)
    benchmark = folder / "mt"
    benchmark.mkdir()
    (benchmark / "question.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS))
    (folder / "prompts.jsonl").write_text('{"prompt": "Name a river."}\n{"prompt": "And a sea."}\n')
    engine = {"kind": "openai", "base_url": url, "price": {"input": 1.0, "output": 2.0}}
    config = {
        "training": recipe(base, train_file=str(train_file(folder / "train.jsonl", 4)),
                           num_train_epochs=1, peft="lora"),
        "evaluation": {
            "engine": {"kind": "transformers", "dtype": "float32"},
            "models": [{"name": "endpoint", "engine": engine}],
            "calibration": 3,
            "benchmarks": [
                {"kind": "mt-bench", "path": str(benchmark), "max_tokens": 8},
                {"kind": "pairwise", "path": str(folder / "prompts.jsonl"), "max_tokens": 8},
            ],
            "judges": [{"name": "judge", "engine": engine}],
        },
        "store": "store", "out": "out",
    }  # fmt: skip
    path = folder / "live.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_from_training_to_the_leaderboard(command: Command, server: Server, tmp_path: Path) -> None:
    with serving(tmp_path / "endpoint", "--nonsense-every", "10") as endpoint:
        config = write_config(tmp_path, endpoint.url)
        evaluate = command.of("evaluate").with_models().within(tmp_path / "run")
        told = evaluate.run("--config", config, "--dry-run").ended(0).stdout
        assert "answers    tiny-trained: 14 to ask, 0 cached" in told
        assert not endpoint.asked
        first = evaluate.run("--config", config).ended(0)
        assert "pairwise" in first.stdout
        out = tmp_path / "run" / "out"
        table = pl.read_parquet(out / "leaderboard.parquet")
        asked = sum(endpoint.asked.values())
        again = evaluate.run("--config", config).ended(0)
        assert sum(endpoint.asked.values()) == asked, "nothing is asked twice"
        assert pl.read_parquet(out / "leaderboard.parquet").equals(table)
        assert again.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]
    models = {"tiny-trained", "tiny", "endpoint"}
    average = table.filter(metric="average", category="writing")
    assert set(average["model"]) == models
    assert (average["n"] + average["unparsed"] == 12).all()
    assert set(table.filter(benchmark="pairwise")["model"]) == models - {"tiny"}
    run = server.latest()
    assert run["state"]["type"] == "COMPLETED"
    assert "leaderboard" in server.artifacts(run)
    same = command.of("evaluate").within(tmp_path / "files")
    same.run("--judgments", out / "mt-bench", "--benchmark", "mt-bench", "--out", "out").ended(0)
    files = pl.read_parquet(tmp_path / "files" / "out" / "leaderboard.parquet").drop("cost")
    assert files.equals(table.filter(benchmark="mt-bench").drop("cost"))
