"""Small data sets in the shape of the Generator-Zoo, seeded, with what real ones have: null scores,
empty answers, texts that are hostile to whoever shows them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import yaml

REWARD = "reward"
CROWD = [
    {"name": f"{family}-{size}b", "family": family, "size": size}
    for family in ("ant", "bee")
    for size in (1, 7, 70)
]
NAMES = [str(m["name"]) for m in CROWD]
HOSTILE = "<script>alert(1)</script> | `code` \x00 [a](javascript:b)\n# title\x1b[31m"
WORDS = [
    "sum",
    "list",
    "river",
    "tax",
    "poem",
    "chess",
    "tea",
    "moon",
    "verb",
    "soup",
    "map",
    "bird",
]


@dataclass(frozen=True)
class Zoo:
    """A data set on the disk and its crowd file."""

    path: Path
    crowd: Path
    rows: int

    @property
    def flags(self) -> list[str]:
        """The flags that name the data set and its crowd."""
        return ["--dataset", str(self.path), "--crowd", str(self.crowd)]


def write_zoo(
    folder: Path, rows: int = 240, *, row_group: int = 40, seed: int = 0, hostile_every: int = 0
) -> Zoo:
    """Write zoo.parquet and crowd.yaml.

    Args:
        folder: where to.
        rows: instructions.
        row_group: rows a row group, the finest grain that shards can have.
        seed: of scores, words and gaps.
        hostile_every: each so many rows have a hostile id and texts, and scores that rank first.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    hostile_N = np.arange(rows) % hostile_every == 0 if hostile_every else np.zeros(rows, bool)
    marks_N = [HOSTILE if hostile else "" for hostile in hostile_N]
    words_N = [" ".join(rng.choice(WORDS, 6)) for _ in range(rows)]
    columns = {
        "uuid": [f"row-{i:06d}{marks_N[i]}" for i in range(rows)],
        "instruction": [f"{marks_N[i]}{words_N[i]} {i}" for i in range(rows)],
    }
    for place, name in enumerate(NAMES):
        # The larger models of a hostile row do far better than the smaller, all of them badly.
        scores_N = np.where(hostile_N, 9.0 * place - 90, rng.normal(size=rows))
        missing_N = (rng.random(rows) < 0.02) & ~hostile_N
        empty_N = (rng.random(rows) < 0.02) & ~hostile_N
        columns[name] = [
            {
                "content": "" if empty_N[i] else f"{name} {words_N[i]}{marks_N[i]}",
                REWARD: None if missing_N[i] else float(scores_N[i]),
            }
            for i in range(rows)
        ]
    path, crowd = folder / "zoo.parquet", folder / "crowd.yaml"
    pl.DataFrame(columns).write_parquet(path, row_group_size=row_group)
    crowd.write_text(yaml.safe_dump({"crowd": CROWD, "reward_models": [REWARD]}))
    return Zoo(path, crowd, rows)
