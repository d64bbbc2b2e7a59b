"""Draws belong to a row: the same whatever stands around it, and evenly spread."""

from hashlib import blake2b

import numpy as np
from scipy.stats import kstest

from crowdselect_core.util.hashed_random import uniform

IDS = [f"row-{i}" for i in range(5_000)]


def test_a_draw_is_what_it_has_always_been() -> None:
    # blake2b-64 of "0\nrandom\nrow-1", little-endian, its upper 53 bits over 2**53: a change here
    # changes every published selection of the random baseline
    digest = blake2b(b"0\nrandom\nrow-1", digest_size=8).digest()
    expected = (int.from_bytes(digest, "little") >> 11) / 2**53
    assert uniform(["row-1"], 0, "random").tolist() == [expected]


def test_a_draw_does_not_depend_on_the_other_rows() -> None:
    whole = dict(zip(IDS, uniform(IDS, 3, "random").tolist(), strict=True))
    some = IDS[4_000:10:-7]
    assert uniform(some, 3, "random").tolist() == [whole[i] for i in some]


def test_seed_purpose_and_id_each_give_other_draws() -> None:
    draws = uniform(IDS, 1, "random")
    for other in (uniform(IDS, 2, "random"), uniform(IDS, 1, "response")):
        assert not (draws == other).any()
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.05  # 3.5 standard errors
    assert len(set(draws.tolist())) == len(IDS)


def test_draws_are_uniform_in_0_1() -> None:
    draws = uniform(IDS, 0, "random")
    assert draws.min() >= 0
    assert draws.max() < 1
    assert kstest(draws, "uniform").pvalue > 0.001


def test_seed_and_purpose_cannot_run_into_each_other() -> None:
    assert uniform(["x"], 1, "1")[0] != uniform(["x"], 11, "")[0]


def test_no_ids_and_odd_ids() -> None:
    assert uniform([], 0, "random").tolist() == []
    assert len(set(uniform(["", "é", "日本", "\ud800"], 0, "random").tolist())) == 4
