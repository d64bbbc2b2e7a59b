"""Small judgment files of MT-Bench and Arena-Hard, and the leaderboard that they come to."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.evaluate.leaderboard import Leaderboard, compute

Row = dict[str, Any]


def write_rows(file: Path, rows: Iterable[Row | str]) -> Path:
    """Write JSON Lines; a text is a line as it stands."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_bytes("".join(f"{line}\n" for line in lines).encode())
    return file


def graded(model: str, question: int, turn: int, score: Any, judge: str = "gpt-4") -> Row:
    """A row of MT-Bench's single grading."""
    return {"question_id": question, "model": model, "judge": [judge, "single-v1"],
            "judgment": f"Rating: [[{score}]]", "score": score, "turn": turn}  # fmt: skip


def paired(models: tuple[str, str], question: int, first: Any, second: Any, turn: int = 1) -> Row:
    """A row of MT-Bench's pairs."""
    return {"question_id": question, "model_1": models[0], "model_2": models[1],
            "g1_winner": first, "g2_winner": second, "judge": ["gpt-4", "pair-v2"],
            "turn": turn}  # fmt: skip


def compared(model: str, question: str, first: Any, second: Any, judge: str = "judge") -> Row:
    """A row of Arena-Hard v0.1; the two labels of its games."""
    return {"question_id": question, "model": model, "judge": judge,
            "games": [{"score": first}, {"score": second}]}  # fmt: skip


def compared_v2(
    model: str, question: str, first: Any, second: Any, category: str = "hard_prompt",
    baseline: str = "base",
) -> Row:  # fmt: skip
    """A row of Arena-Hard v2."""
    games = [
        {"score": label, "judgment": {"answer": ""}, "prompt": ""} for label in (first, second)
    ]
    return {"uid": question, "category": category, "judge": "judge", "model": model,
            "baseline": baseline, "games": games}  # fmt: skip


def board(path: Path, benchmark: str, **keys: Any) -> Leaderboard:
    """Compute the leaderboard of some files."""
    config = EvaluateConfig.model_validate({"judgments": str(path), "benchmark": benchmark} | keys)
    return compute(config.resolved())


def cells(found: Leaderboard, *columns: str) -> dict[tuple[Any, ...], Any]:
    """Return columns by metric and model, of the rows over all categories."""
    shown = found.table.filter(found.table["category"].is_null())
    return {
        (row["metric"], row["model"]): tuple(row[c] for c in columns) if columns[1:] else
        row[columns[0]]
        for row in shown.iter_rows(named=True)
    }  # fmt: skip
