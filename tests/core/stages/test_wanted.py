"""Which answers a data set wants, by the keys of its prompts, and which of them have a cell."""

from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from crowdselect_core.stages.crowd.responses import sample_key, sample_keys
from crowdselect_core.stages.crowd.wanted import wanted_of
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.cache.call_cache import CallCache
from crowdselect_core.store.cache.key_index import as_bytes, as_keys
from crowdselect_core.store.identity import Spec

PROMPTS = [sha256(bytes([n])).digest()[:16] for n in range(7)]


def test_many_samples_are_named_as_one_is() -> None:
    prompts = [*PROMPTS, bytes(16)]  # numpy drops trailing NULs where it may
    for sample in (0, 1, 300):
        assert as_bytes(sample_keys(as_keys(prompts), sample)) == [
            sample_key(prompt, sample) for prompt in prompts
        ]


@pytest.mark.parametrize("n", [1, 3])
def test_what_is_missing_is_found_with_its_shard(tmp_path: Path, n: int) -> None:
    """Three shards; prompt 0 stands in the first and the last and is asked once."""
    cells = CallCache(Store(str(tmp_path)), Spec("generated", 1, {}), {"text": pl.String})
    shards = [PROMPTS[:3], PROMPTS[3:5], [PROMPTS[0], *PROMPTS[5:]]]
    want = wanted_of([as_keys(shard) for shard in shards], n)
    assert len(want) == 7 * n
    assert want.lacking(cells) == (7 * n, [0, 1, 2])
    there = [sample_key(prompt, s) for prompt in [*PROMPTS[:5], PROMPTS[6]] for s in range(n)]
    cells.commit([(key, "text") for key in there])
    assert want.lacking(cells) == (n, [2])
    cells.commit([(sample_key(PROMPTS[5], s), "text") for s in range(n)])
    assert want.lacking(cells) == (0, [])
    assert wanted_of([], n).lacking(cells) == (0, [])
