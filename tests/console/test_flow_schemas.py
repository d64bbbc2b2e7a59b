"""A command has no JSON schema made of its flow's parameters; a deployment does."""

from prefect import flow

from flows import flow_schemas


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
