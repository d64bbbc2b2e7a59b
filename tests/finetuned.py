"""Rows and recipes of small trainings, for tests."""

import json
from pathlib import Path
from typing import Any

WORDS = [
    *("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"),
    *("ibis", "jay", "kite", "lark", "mole", "newt", "owl", "pig"),
]


def conversation(number: int) -> list[dict[str, str]]:
    """One conversation of two or four turns, each with words of its own."""
    first = f"Say {WORDS[number % 16]} {number} times"
    turns = [
        {"role": "user", "content": first},
        {"role": "assistant", "content": " ".join(WORDS[: number % 7 + 2])},
    ]
    if number % 3 == 0:
        turns += [
            {"role": "user", "content": "And backwards?"},
            {"role": "assistant", "content": " ".join(reversed(WORDS[: number % 5 + 2]))},
        ]
    return turns


def train_file(path: Path, rows: int = 10) -> Path:
    """Write conversations as train.jsonl has them."""
    lines = [json.dumps({"messages": conversation(n)}) for n in range(rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def pair(number: int) -> dict[str, Any]:
    """One preference pair of one turn, as TRL's conversational rows are."""
    turns = conversation(number)
    return {
        "prompt": turns[:1],
        "chosen": turns[1:2],
        "rejected": [{"role": "assistant", "content": "no " * (number % 4 + 1) + WORDS[number]}],
    }


def pairs_file(path: Path, rows: int = 10) -> Path:
    """Write preference pairs, a line each."""
    path.write_text("".join(f"{json.dumps(pair(n))}\n" for n in range(rows)), "utf-8")
    return path


def recipe(base: Path, **keys: Any) -> dict[str, Any]:
    """Return the keys of a short training: 2 epochs of 5 steps of 2 rows."""
    return {
        "base_model": str(base),
        "num_train_epochs": 2,
        "global_batch_size": 2,
        "max_length": 128,
        "save_steps": 3,
        "learning_rate": 1e-3,
        **keys,
    }
