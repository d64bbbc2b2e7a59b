"""A key follows from everything that changes the content, and from nothing else."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdselect_core.store.identity import Spec, canonical, differences
from crowdselect_core.store.plan import Plan, ShardResult

SPEC = Spec("scores", 2, {"crowd": ["a", "b"], "seed": 7, "model": {"name": "m"}}, {"rows": "k1"})

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def backwards(value: Any) -> Any:
    """Return an equal value whose dicts were filled in the other order."""
    if isinstance(value, dict):
        return {k: backwards(v) for k, v in reversed(value.items())}
    return [backwards(v) for v in value] if isinstance(value, list) else value


def test_canonical_is_the_text_written_by_hand() -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": 'x"\n', "A": ""}}
    # Keys in code point order ("A" before "ü"), no spaces, UTF-8 as it is, JSON's own escapes.
    assert canonical(value) == '{"a":{"A":"","ü":"x\\"\\n"},"b":[1,2.5,null,true]}'.encode()


def test_the_key_is_the_sha256_of_stage_version_identity_and_inputs() -> None:
    spec = Spec("s", 1, {"y": 1, "x": 2}, {"i": "k"})
    assert spec.key == sha256(b'["s",1,{"x":2,"y":1},{"i":"k"}]').hexdigest()
    assert spec.folder == f"s/{spec.key}"


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_the_order_of_keys_is_irrelevant(identity: dict[str, Any]) -> None:
    assert Spec("s", 1, identity).key == Spec("s", 1, backwards(identity)).key


@given(st.dictionaries(st.text(), JSON, max_size=4), st.dictionaries(st.text(), JSON, max_size=4))
def test_two_identities_share_a_key_only_if_they_are_the_same_text(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    same = canonical(one) == canonical(other)
    assert (Spec("s", 1, one).key == Spec("s", 1, other).key) == same


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, stage="score"),
        replace(SPEC, version=3),
        replace(SPEC, inputs={"rows": "k2"}),
        replace(SPEC, inputs={"others": "k1"}),
        replace(SPEC, inputs={}),
        replace(SPEC, identity={**SPEC.identity, "crowd": ["b", "a"]}),
        replace(SPEC, identity={**SPEC.identity, "seed": 8}),
        replace(SPEC, identity={**SPEC.identity, "seed": "7"}),
        replace(SPEC, identity={**SPEC.identity, "model": {"name": "n"}}),
        replace(SPEC, identity={**SPEC.identity, "model": {"name": "m", "revision": None}}),
        replace(SPEC, identity={**SPEC.identity, "new": None}),
    ],
)
def test_every_field_changes_the_key(other: Spec) -> None:
    assert other.key != SPEC.key


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_no_identity(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        _ = Spec("s", 1, {"x": value}).key


def test_differences_name_the_fields_and_both_values() -> None:
    other = {"crowd": ["a", "b"], "seed": 8, "model": {"name": "m", "revision": "abc"}}
    assert differences(SPEC.identity, other) == [
        'model.revision: null -> "abc"',
        "seed: 7 -> 8",
    ]
    assert differences(SPEC.identity, backwards(SPEC.identity)) == []


def test_differences_cut_long_values() -> None:
    [line] = differences({"prompt": "a" * 1000}, {"prompt": "b"})
    # 57 characters of the JSON text (a quote and 56 a's) and three dots
    assert line == 'prompt: "' + "a" * 56 + '... -> "b"'


def never(_: int) -> ShardResult:
    raise AssertionError


def test_a_cut_has_a_tag_of_its_own() -> None:
    assert Plan(0, never, {"rows": 10}).tag == sha256(b'{"rows":10}').hexdigest()[:8]
    assert Plan(0, never, {"rows": 10}).tag != Plan(0, never, {"rows": 20}).tag
