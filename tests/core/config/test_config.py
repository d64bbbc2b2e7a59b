"""The config: what each key takes, and what is said of a value that cannot be."""

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from little import CROWD, NAMES
from pydantic import Field, TypeAdapter, ValidationError

from crowdselect_core.config import reference
from crowdselect_core.config.base import Frozen
from crowdselect_core.config.commands import COMMANDS
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.engine import (
    OpenAIEngineConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.evaluate import EvaluateConfig
from crowdselect_core.config.load import load
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.reward import ClassifierReward, FunctionReward
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.config.validation import checked, explain
from crowdselect_core.errors import ConfigError, UserError

BASE: dict[str, Any] = {"dataset": "x.parquet", "crowd": CROWD, "reward_models": ["r"]}


def made(**keys: Any) -> SelectConfig:
    return load(None, BASE | keys, {})


def refusal(**keys: Any) -> str:
    """Return the one line with which a config is refused."""
    with pytest.raises(UserError) as caught:
        made(**keys)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


def test_defaults() -> None:
    config = made()
    assert config.method == "crowdselect"
    assert config.budget == 1000
    assert config.clusters == 10
    assert config.weights == (1, 1, 2, 0)
    assert config.embedder.kind == "lexical"
    assert (config.store, config.out) == (".crowdselect", "out")
    assert config.quota == "equal"
    assert config.response_mode == "best"
    assert config.min_scores == 2
    assert config.seed == 0
    assert [m.name for m in config.models] == NAMES


def test_the_crowd_and_the_reward_models_come_in_name_order() -> None:
    config = made(crowd=CROWD[::-1], reward_models=["z", "a"])
    assert [m.name for m in config.models] == NAMES
    assert config.reward_models == ["a", "z"]
    with pytest.raises(TypeError, match="call resolved"):
        _ = SelectConfig(dataset="x").models  # type: ignore[arg-type]


def test_a_config_cannot_change() -> None:
    with pytest.raises(ValidationError):
        made().budget = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "read"),
    [(5, 5), ("5", 5), (0.05, 0.05), ("0.05", 0.05), (1.0, 1.0), ("1.0", 1.0), ("5e-2", 0.05)],
)
def test_budgets(given: Any, read: float) -> None:
    budget = made(budget=given).budget
    assert budget == read
    assert type(budget) is type(read)


@pytest.mark.parametrize(
    "given",
    [0, -3, "0", 0.0, 2.0, "2.5", -0.1, True, False, None, "many", "", [5], {"rows": 5},
     float("nan"), "nan", float("inf"), "1e3", "5 rows"],
)  # fmt: skip
def test_what_is_no_budget(given: Any) -> None:
    message = refusal(budget=given)
    assert message.startswith(
        "budget: expected whole rows (200) or a fraction above 0 and up to 1 (0.05)"
    )
    if isinstance(given, str | int | float):
        assert message.endswith(f", found {given!r}")


@pytest.mark.parametrize(
    ("given", "read"),
    [("1,1,2", (1, 1, 2, 0)), (" 1, -1 ,0.5", (1, -1, 0.5, 0)), ([0, 0, 1], (0, 0, 1, 0)),
     (["1", "2", "3"], (1, 2, 3, 0)), ((1e-3, 0, 0), (1e-3, 0, 0, 0)),
     ("1,1,2,-0.5", (1, 1, 2, -0.5)), ([0, 0, 0, 1], (0, 0, 0, 1))],
)  # fmt: skip
def test_weights(given: Any, read: tuple[float, float, float, float]) -> None:
    assert made(weights=given).weights == read


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("1,1", "weights: expected three numbers for difficulty, separability, stability (1,1,2), "
                "or four, the last one for headroom (1,1,2,1), found '1,1'"),
        ([1, 2, 3, 4, 5], "weights: expected three numbers"),
        (3, "weights: expected three numbers"),
        (None, "weights: expected three numbers"),
        ("1,x,2", "weights.1: Input should be a valid number"),
        ("nan,1,1", "weights.0: Input should be a finite number, found 'nan'"),
        ([1, float("inf"), 1], "weights.1: Input should be a finite number, found inf"),
        ("0,0,0", "weights: expected finite numbers that are not all 0"),
        ("0,0,0,0", "weights: expected finite numbers that are not all 0"),
        ("1e-9,0,0", "weights: the largest of [1e-09, 0.0, 0.0, 0.0] is 1e-09, expected"),
        ("1,1,2,nan", "weights.3: Input should be a finite number, found 'nan'"),
    ],
)  # fmt: skip
def test_what_are_no_weights(given: Any, told: str) -> None:
    assert told in refusal(weights=given)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"method": "crowdselct"}, "method: Input should be 'crowdselect', 'difficulty', "),
        ({"method": "crowdselct"}, "found 'crowdselct', did you mean 'crowdselect'?"),
        ({"quota": "eqal"}, "quota: Input should be 'equal', 'proportional' or 'reference', found "
                            "'eqal', did you mean 'equal'?"),
        ({"direction": "up"}, "direction: Input should be 'top' or 'bottom', found 'up'"),
        ({"export": "sharegpt,pair"},
         "export.1: Input should be 'sharegpt', 'alpaca', 'prompt-completion', 'pairs' or "
                                      "'llamafactory', "
                                      "found 'pair', did you mean 'pairs'?"),
        ({"clusters": "2.5"}, "clusters: Input should be a valid integer"),
        ({"clusters": -1}, "clusters: Input should be greater than or equal to 0, found -1"),
        ({"min_scores": 0}, "min_scores: Input should be greater than or equal to 1, found 0"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"seed": 2**32}, "seed: Input should be less than or equal to 4294967295"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"workers": 0}, "workers: Input should be greater than or equal to 1"),
        ({"shard_rows": 0}, "shard_rows: Input should be greater than or equal to 1"),
        ({"budget_tokens": 0}, "budget_tokens: Input should be greater than or equal to 1"),
        ({"out": ""}, "out: String should have at least 1 character"),
        ({"allow_short": "maybe"}, "allow_short: Input should be a valid boolean"),
        ({"bugdet": 5}, "unknown key 'bugdet', did you mean 'budget'? (known: allow_short, "),
        ({"reward_models": []}, "no reward model is named: pass --reward-model NAME"),
        ({"reward_models": ["a", "a"]}, "reward_models: a name stands twice in ['a', 'a']"),
        ({"reward_models": [5]}, "reward_models.0: Input should be a valid string or a mapping"),
        ({"crowd": []}, "the crowd is empty"),
        ({"crowd": [CROWD[0], CROWD[0]]}, "crowd: ant-1b stand(s) twice"),
        ({"crowd": [{**CROWD[0], "size": "1B"}]},
         "crowd.0.size (ant-1b): Input should be a valid number"),
        ({"crowd": [{"name": "a", "famly": "f", "size": 1}]},
         "unknown key 'crowd.0.famly' (a), did you mean 'family'?"),
        ({"crowd": 5}, "crowd: Input should be a valid list or a valid string, found 5"),
        ({"dataset": {"pth": "x"}}, "unknown key 'dataset.pth', did you mean 'path'?"),
        ({"dataset": {}}, "key 'dataset.path' is missing"),
        ({"dataset": ""}, "dataset.path: String should have at least 1 character"),
        ({"dataset": 5}, "dataset: Input should be a valid dictionary"),
        ({"dataset": {"path": "x", "format": "zoo"}}, "dataset.format: Input should be 'auto', "),
        ({"dataset": {"path": "x", "columns": {"instrction": "y"}}},
         "columns: unknown name 'instrction', did you mean 'instruction'?"),
        ({"embedder": {"kid": "lexical"}}, "unknown key 'embedder.kid', did you mean 'kind'?"),
        ({"embedder": {"kind": "lexcal"}}, "found 'lexcal', did you mean 'lexical'?"),
        ({"embedder": "column:"}, "embedder: kind column needs 'column', the vector column's name"),
        ({"embedder": {"kind": "sentence-transformers"}}, "needs 'model', a folder or a hub id"),
        ({"pairs": {"rejected": 1}}, "pairs.rejected: Input should be 'worst' or greater than or "
                                     "equal to 2, found 1"),
        ({"pairs": {"rejected": "wrst"}}, "did you mean 'worst'?"),
        ({"pairs": {"min_margin": -1}}, "pairs.min_margin: Input should be greater than or equal"),
        ({"response": "bset"}, "response 'bset' is neither a mode (best, random, random-of-top-5)"),
        ({"response": "ant-1b,ant7b"}, "ant7b is not of the crowd, did you mean 'ant-7b'?"),
        ({"response": {"a": 1}}, "response: Input should be a valid string or a valid list"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how(keys: dict[str, Any], told: str) -> None:
    assert told in refusal(**keys)


def test_several_complaints_are_told_and_the_misspelling_comes_first() -> None:
    message = refusal(budget=0, crowd=[{"name": "a", "family": "f", "sze": 1}])
    assert message.startswith("unknown key 'crowd.0.sze' (a), did you mean 'size'? (known: ")
    assert "); key 'crowd.0.size' (a) is missing; budget: " in message


def test_of_many_complaints_five_are_told_and_the_known_keys_once() -> None:
    message = refusal(**{f"key{n}": 1 for n in range(7)})
    assert all(f"unknown key 'key{n}'" in message for n in range(5))
    assert message.count("(known: ") == 1
    assert message.endswith(" (and 2 more)")


@pytest.mark.parametrize(
    ("given", "kind", "where"),
    [
        ("lexical", "lexical", None),
        ("column:vec", "column", "vec"),
        ("org/model", "sentence-transformers", "org/model"),
        ("./folder", "sentence-transformers", "./folder"),
        ({"kind": "column", "column": "vec"}, "column", "vec"),
    ],
)
def test_embedders_by_name(given: Any, kind: str, where: str | None) -> None:
    embedder = EmbedderConfig.model_validate(given)
    assert embedder.kind == kind
    assert (embedder.column if kind == "column" else embedder.model) == where


def test_the_kept_answer_of_the_random_baseline() -> None:
    assert made(method="random").response_mode == "random"
    assert made(method="random", response="best").response_mode == "best"
    assert made(response="ant-1b,ant-7b").response_mode == ["ant-1b", "ant-7b"]


SECRET = "wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY"
URLS = [
    f"s3://AKIAEXAMPLE:{SECRET}@bucket/zoo/*.parquet",
    f"s3://AKIAEXAMPLE:{SECRET}@bucket",
    f"simplecache::s3://AKIAEXAMPLE:{SECRET}@bucket/x",
    f"https://user:{SECRET}@host/zoo.parquet",
    f"https://host/zoo.parquet?X-Amz-Signature={SECRET}",
    f"https://host/zoo.parquet?a=b&sig={SECRET}",
    f"https://host/zoo.parquet?access_token={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("key", ["dataset", "dataset.path", "store", "out"])
def test_credentials_in_a_url_are_refused_without_repeating_them(key: str, url: str) -> None:
    message = refusal(**{"dataset": {"path": url}} if key == "dataset.path" else {key: url})
    assert "URL carries credentials" in message
    assert "set them in the environment (AWS_ACCESS_KEY_ID" in message
    assert "EXAMPLE" not in message


@pytest.mark.parametrize(
    "url",
    ["s3://bucket/zoo-?.parquet", "s3://bucket/a@b/zoo.parquet", "https://host/x?download=true",
     "hf://datasets/org/name@main/data/*.parquet", "file:///tmp/a@b", "memory://x"],
)  # fmt: skip
def test_urls_without_credentials_are_fine(url: str) -> None:
    assert made(dataset=url).dataset.path == url


@pytest.mark.parametrize(
    "name",
    ["key", "secret", "token", "password", "aws_secret_access_key", "account_key", "sas_token",
     "TOKEN", "credential"],
)  # fmt: skip
@pytest.mark.parametrize("value", [SECRET, {"a": SECRET}, [SECRET]])
def test_credentials_among_the_storage_options_are_refused(name: str, value: Any) -> None:
    message = refusal(dataset={"path": "s3://b/x", "storage_options": {name: value}})
    assert "storage_options" in message
    assert SECRET not in message
    if isinstance(value, str):
        assert f"storage_options.{name} looks like a credential: set it in the env" in message
    assert SECRET not in refusal(dataset={"path": "s3://b/x", "storage_options": SECRET})


def test_a_secret_does_not_show_in_the_models_own_error() -> None:
    """The Prefect server shows pydantic's words for a deployment's parameters."""
    options = {"key": SECRET}
    with pytest.raises(ValidationError) as caught:
        SelectConfig(dataset={"path": "s3://b/x", "storage_options": options})  # type: ignore[arg-type]
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert SECRET not in explain(caught.value, SelectConfig)


def test_the_protocol_of_a_data_set_is_that_of_its_url() -> None:
    options = {"protocol": "hf", "endpoint": "http://127.0.0.1:9"}
    message = refusal(dataset={"path": "memory://b/x", "storage_options": options})
    assert "storage_options.protocol: leave it out" in message


def test_harmless_storage_options_are_kept() -> None:
    options = {"anon": True, "endpoint_url": "http://127.0.0.1:9000", "timeout": 5, "x": None}
    config = DatasetConfig(path="s3://b/x", storage_options=options)  # type: ignore[arg-type]
    assert config.storage_options == options


def test_the_form_of_the_config() -> None:
    """The Prefect UI draws a form of the schema: every key has a description."""
    schemas = [command.config.model_json_schema() for command in COMMANDS.values()]
    for form in [form for s in schemas for form in (s, *s.get("$defs", {}).values())]:
        for name, field in form.get("properties", {}).items():
            assert len(field["description"].split()) > 1, f"{form['title']}.{name}"
    schema = SelectConfig.model_json_schema()
    assert schema["required"] == ["dataset"]
    weights = schema["properties"]["weights"]  # a form that holds three stays good
    assert (weights["minItems"], weights["maxItems"]) == (3, 4)


# What a form of a run asks for, and where an example says more than the description does.
SHOWN = [
    (SelectConfig, "dataset crowd reward_models budget quota weights response export store out"),
    (ReselectConfig, "series base rollback_to"),
    (EvaluateConfig, "judgments baseline questions style out"),
    (DatasetConfig, "path columns"),
    (CrowdModel, "name family size"),
    (OpenAIEngineConfig, "base_url model api_key_env api_key_block"),
    (VllmEngineConfig, "model args"),
    (TransformersEngineConfig, "model"),
    (ClassifierReward, "name model"),
    (FunctionReward, "name path"),
]


@pytest.mark.parametrize(("config", "names"), SHOWN, ids=lambda v: getattr(v, "__name__", ""))
def test_the_form_shows_examples(config: type[Frozen], names: str) -> None:
    schema = config.model_json_schema()
    shown = {name for name, field in schema["properties"].items() if field.get("examples")}
    assert set(names.split()) <= shown
    literal = {n for n, field in schema["properties"].items() if "const" in field}
    assert set(schema.get("required", [])) - literal <= shown, "what must be filled in"


@pytest.mark.parametrize("config", [SelectConfig, ReselectConfig])
def test_every_example_of_the_form_is_a_value_that_is_taken(config: type[SelectConfig]) -> None:
    for name, field in config.model_fields.items():
        for example in field.examples or []:
            config.model_validate(BASE | {name: example})


@pytest.mark.parametrize("config", reference.sections(), ids=lambda c: c.__name__)
def test_every_example_of_a_section_is_a_value_that_is_taken(config: type[Frozen]) -> None:
    for field in config.model_fields.values():
        takes = TypeAdapter(Annotated[field.annotation, field])
        for example in field.examples or []:
            takes.validate_python(example)


class Grader(Frozen):
    """A section and a key of it that are named like a kind of reward model and of engine."""

    vllm: int = Field(1, description="A number")
    columns: dict[str, int] = Field({}, description="Numbers by name")


class Graded(SelectConfig):
    """A config with such a section."""

    judge: Grader = Field(Grader(), description="The section")


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"vllm": "x"}, "judge.vllm: Input should be a valid integer"),
        ({"vlm": 1}, "unknown key 'judge.vlm', did you mean 'vllm'? (known: columns, vllm)"),
        ({"columns": {"openai": "x"}}, "judge.columns.openai: Input should be a valid integer"),
    ],
)
def test_a_key_that_is_named_like_a_kind_stands_in_the_message(
    judge: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(Graded, BASE | {"judge": judge}, "series 'x'")
    assert str(caught.value).startswith(f"series 'x': {told}")


def test_the_student_is_apart_from_the_crowd() -> None:
    student = {"name": "bat-1b", "family": "bat", "size": 1, "role": "student"}
    config = made(crowd=[student, *CROWD])
    assert [m.name for m in config.models] == NAMES
    assert [m.name for m in config.everyone] == [*NAMES[:2], "bat-1b", *NAMES[2:]]
    assert config.student is not None
    assert config.student.name == "bat-1b"
    assert made().student is None
    assert "bat-1b is not of the crowd" in refusal(crowd=[student, *CROWD], response=["bat-1b"])


def test_an_error_of_the_config_is_a_user_error() -> None:
    assert issubclass(ConfigError, UserError)


@pytest.mark.parametrize(
    ("file", "name", "left"),
    [
        ({"kind": "ray", "address": "10.0.0.1:6379"}, "ray", "10.0.0.1:6379"),
        ({"address": "10.0.0.1:6379"}, "ray", "10.0.0.1:6379"),
        ({"kind": "ray", "address": "10.0.0.1:6379"}, "threads", None),
    ],
)
def test_a_bare_executor_leaves_the_keys_of_its_kind(
    file: dict[str, str], name: str, left: str | None, tmp_path: Path
) -> None:
    place = tmp_path / "select.yaml"
    place.write_text(f"{{dataset: d, reward_models: [r], executor: {json.dumps(file)}}}")
    for flags, environ in (({"executor": name}, {}), ({}, {"CROWDSELECT_EXECUTOR": name})):
        config = load(str(place), flags, environ)
        assert (config.executor.kind, config.executor.address) == (name, left)
