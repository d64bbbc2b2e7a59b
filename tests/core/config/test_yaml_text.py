"""YAML of configs: as PyYAML's safe loader reads it, but for keys that stand twice."""

import pytest
import yaml

from crowdselect_core.config.load import from_environment
from crowdselect_core.config.yaml_text import DuplicateKey, read_yaml
from crowdselect_core.errors import ConfigError

MERGED = """
a: &a {x: 1, y: 2}
b: &b {<<: *a, x: 3}
c: [*a, {<<: [*b, *a], y: 4}]
1: one
"1": text
"""


@pytest.mark.parametrize("text", ["", "a", "[1, no, ~]", MERGED])
def test_what_has_no_key_twice_is_read_as_ever(text: str) -> None:
    assert read_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["a: 1\na: 1", "[{b: {a: 1, a: 2}}]", "x: &x {a: 1, a: 2}\ny: *x"])
def test_a_key_that_stands_twice(text: str) -> None:
    with pytest.raises(DuplicateKey, match="key 'a' stands twice"):
        read_yaml(text)


def test_a_variable_with_a_key_twice_is_named() -> None:
    with pytest.raises(ConfigError, match="CROWDSELECT_DATASET: key 'path' stands twice"):
        from_environment({"CROWDSELECT_DATASET": "{path: a, path: b}"})
