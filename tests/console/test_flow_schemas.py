"""A command has no JSON schema made of its flow's parameters; a deployment does, for its form."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import flow

from flows import flow_schemas
from flows.experiment import experiment


def add(number: int) -> int:
    return number + 1


def test_a_flow_of_the_block_has_no_schema_and_runs() -> None:
    with flow_schemas.skipped():
        bare = flow(add)
    assert bare.parameters.properties == {}
    assert bare.validate_parameters({"number": "3"}) == {"number": 3}


def test_a_flow_after_the_block_has_one() -> None:
    with flow_schemas.skipped():
        pass
    assert flow(add).parameters.properties["number"]["type"] == "integer"


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    """The schema from which the Prefect UI draws the form of the deployment `experiment`."""
    return experiment.parameters.model_dump()


def keys(form: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every key of the form with its schema, those of nested configs too."""
    for name, config in {"": form, **form["definitions"]}.items():
        for key, schema in config.get("properties", {}).items():
            yield f"{name}.{key}", schema


def nested(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and all that are in it, whatever a default or an example holds aside."""
    if isinstance(schema, dict):
        yield schema
        for name, part in schema.items():
            if name not in ("default", "examples", "const", "enum"):
                yield from nested(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from nested(part)


def test_every_key_of_a_form_has_a_title_and_a_description(form: dict[str, Any]) -> None:
    found = dict(keys(form))
    assert {
        ".config", "SelectConfig.experiment", "SelectConfig.executor",
        "SelectConfig.budget_tokens_of", "ExperimentConfig.token_matched", "ExecutorConfig.kind",
        "PartResources.gpus",
    } <= set(found)  # fmt: skip
    for name, schema in found.items():
        assert schema.get("title"), name
        assert len(schema.get("description", "").split()) > 1, name


def test_a_form_shows_no_name_of_a_class(form: dict[str, Any]) -> None:
    classes = set(form["definitions"])
    assert "ExperimentConfig" in classes
    titles = {schema["title"] for schema in nested(form) if isinstance(schema.get("title"), str)}
    assert not titles & classes
    shown = form["definitions"]
    assert shown["SelectConfig"]["properties"]["dataset"]["title"] == "Dataset"
    assert shown["ExperimentConfig"]["title"] == "Experiment"
    assert shown["OpenAIEngineConfig"]["title"] == "openai"
    words = " ".join(
        s["description"] for s in nested(form) if isinstance(s.get("description"), str)
    )
    assert not [name for name in classes if name in words.split()]


def test_what_is_not_filled_in_has_a_default(form: dict[str, Any]) -> None:
    """A key without a default must be filled in: of a form of an experiment the data set alone."""
    by_config = form["definitions"]
    for name in ("SelectConfig", "ExperimentConfig", "ExecutorConfig"):
        config = by_config[name]
        bare = {key for key, schema in config["properties"].items() if "default" not in schema}
        assert bare == set(config.get("required", [])), name
    assert by_config["SelectConfig"]["required"] == ["dataset"]
    assert by_config["ExperimentConfig"]["properties"]["token_matched"]["default"] is False
    assert by_config["SelectConfig"]["properties"]["budget_tokens_of"]["default"] == "row"
    assert by_config["SelectConfig"]["properties"]["executor"]["default"]["kind"] == "threads"
