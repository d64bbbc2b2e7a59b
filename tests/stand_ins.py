"""Small stand-ins for what the grids of the paper name, so that they run as they are on a CPU.

A grid's file is not changed. In the folder that it runs in, its hub ids are folders: random models
of two layers, and a data set with the columns of the Generator-Zoo. Its benchmarks have two
questions each, and whoever it asks is the test endpoint. Variables of the environment make the run
short.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from tinymodel import write_tiny

from crowdselect_core.config.crowd import read_crowd

ROOT = Path(__file__).parent.parent
GRIDS = ROOT / "examples" / "paper"
HOSTED = "https://llm.example.com/v1"  # whom the files ask
MODELS = [
    f"{owner}/{name}{kind}"
    for owner, name in (("meta-llama", "Llama-3.2-3B"), ("Qwen", "Qwen2.5-3B"))
    for kind in ("", "-Instruct")
]
REWARDS = ("Skywork-Reward-Llama-3.1-8B", "Skywork-Reward-Gemma-2-27B", "ArmoRM-Llama3-8B-v0.1")
WORDS = ("river", "moon", "bread", "map", "bridge", "tax", "verb", "soup", "tea", "chess", "bird")
TOKENS = 8  # of an answer


def write_stand_ins(folder: Path, rows: int = 60, models: Sequence[str] = MODELS) -> Path:
    """Write the models, the data set and the benchmarks into the folder that a grid runs in."""
    for seed, model in enumerate(models):
        write_tiny(folder / model, max_position_embeddings=512, seed=seed)
    _write_zoo(folder / "Magpie-Align" / "Magpie-100K-Generator-Zoo", rows)
    _write_questions(folder / "data" / "mt_bench", [
        {"question_id": i, "category": "writing", "turns": [f"Say {i}.", "Again."]}
        for i in range(2)
    ])  # fmt: skip
    _write_questions(folder / "data" / "arena-hard-v0.1", [
        {"question_id": f"q{i}", "category": "arena-hard-v0.1", "cluster": "c",
         "turns": [{"content": f"Why {i}?"}]}
        for i in range(2)
    ])  # fmt: skip
    return folder


def environment(grid: Path, url: str, **experiment: Any) -> dict[str, str]:
    """Return the variables under which a grid runs in minutes.

    Args:
        grid: its file.
        url: of the endpoint that stands in for judges and annotators.
        experiment: keys of the section that are replaced.
    """
    told: dict[str, Any] = yaml.safe_load(grid.read_text("utf-8"))
    evaluation = told["evaluation"]
    cells = json.loads(json.dumps(told["experiment"]["cells"]).replace(HOSTED, url))
    keys: dict[str, Any] = {
        "EMBEDDER": "lexical",
        "TRAINING__NUM_TRAIN_EPOCHS": 1,
        "TRAINING__MAX_LENGTH": 64,
        "TRAINING__LEARNING_RATE": 1e-3,
        "EVALUATION__ENGINE": {"kind": "transformers", "dtype": "float32"},
        "EVALUATION__JUDGES": json.loads(json.dumps(evaluation["judges"]).replace(HOSTED, url)),
        "EVALUATION__BENCHMARKS": [b | {"max_tokens": TOKENS} for b in evaluation["benchmarks"]],
        "EVALUATION__CALIBRATION": 0,
        "EXPERIMENT__CELLS": cells,
        **{f"EXPERIMENT__{name.upper()}": value for name, value in experiment.items()},
    }
    return {"HOSTED_KEY": "none", **{f"CROWDSELECT_{n}": _text(v) for n, v in keys.items()}}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _write_zoo(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(rows)]
    columns: dict[str, list[Any]] = {
        "uuid": [f"row-{i:04d}" for i in range(rows)],
        "instruction": [f"{text} {i}" for i, text in enumerate(texts)],
    }
    for model in read_crowd("paper").crowd:
        scores_NR = rng.normal(size=(rows, len(REWARDS))).tolist()
        columns[model.name] = [
            _answer(model.name, *one) for one in zip(texts, scores_NR, strict=True)
        ]
    folder.mkdir(parents=True)
    pl.DataFrame(columns).write_parquet(folder / "train-00000-of-00001.parquet")


def _answer(model: str, text: str, scores: list[float]) -> Mapping[str, Any]:
    return {"content": f"{model} on {text}", **dict(zip(REWARDS, scores, strict=True))}


def _write_questions(folder: Path, questions: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True)
    (folder / "question.jsonl").write_text("".join(f"{json.dumps(q)}\n" for q in questions))
