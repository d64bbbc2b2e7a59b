"""A little zoo as Python rows, and the files that hold it."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

REWARD = "RM-v0.1"
OTHER = "RM-2"
CROWD = [
    {"name": "ant-1b", "family": "ant", "size": 1},
    {"name": "ant-7b", "family": "ant", "size": 7},
    {"name": "bee-0.5b", "family": "bee", "size": 0.5},
    {"name": "bee-2.5b", "family": "bee", "size": 2.5},
]
NAMES = [str(m["name"]) for m in CROWD]
KEYS = {"crowd": CROWD, "reward_models": [REWARD], "budget": 5}
STRUCT = pa.struct([("content", pa.string()), (REWARD, pa.float64()), (OTHER, pa.float64())])
SCHEMA = pa.schema(
    [("uuid", pa.string()), ("instruction", pa.string()), *((n, STRUCT) for n in NAMES)]
)


def row(number: int, scores: Sequence[float | None], **texts: str | None) -> Row:
    """Return a row: scores in the order of NAMES; texts by model name, or 'instruction'."""
    made: Row = {
        "uuid": f"row-{number:03d}",
        "instruction": texts.get("instruction", f"Question {number}?"),
    }
    for name, score in zip(NAMES, scores, strict=True):
        made[name] = {"content": texts.get(name, f"{name} on {number}"), REWARD: score, OTHER: None}
    return made


def rows(count: int = 30, seed: int = 0) -> list[Row]:
    """Return seeded rows, some of them with missing scores and empty answers."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        one = row(number, [round(rng.gauss(0, 1), 3) for _ in NAMES])
        for name in NAMES:
            one[name][OTHER] = round(rng.gauss(5, 3), 3)
            if rng.random() < 0.05:
                one[name][REWARD] = None
            if rng.random() < 0.05:
                one[name]["content"] = rng.choice(["", None, " \n"])
        made.append(one)
    return made


def parquet(path: Path, table: Sequence[Row], schema: pa.Schema = SCHEMA, **how: Any) -> Path:
    """Write rows as parquet; `how` goes to pyarrow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(table), schema=schema), path, **how)
    return path


def jsonl(path: Path, table: Sequence[Row]) -> Path:
    """Write rows as JSON Lines, NaN and Infinity as Python writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in table), "utf-8")
    return path
