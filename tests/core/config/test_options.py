"""Flags over environment over file over defaults, and what is said of a name that is none."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from little import CROWD, NAMES

from crowdselect_core.config.commands import COMMANDS
from crowdselect_core.config.heldout import HeldoutConfig
from crowdselect_core.config.load import from_environment, from_file, load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, CrowdError, UserError
from flows.options import parse


def told(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def resolved(argv: list[str], environ: dict[str, str] | None = None) -> SelectConfig:
    args, flags = parse(argv)
    return load(args.config, flags, environ or {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A config file with its own crowd, and a crowd file beside it."""
    path = tmp_path / "config.yaml"
    values = {
        "dataset": {"path": "file.parquet", "format": "generator-zoo"},
        "crowd": CROWD,
        "reward_models": ["r1", "r2"],
        "budget": 7,
        "seed": 3,
        "weights": [1, 0, 0],
        "out": "out/of/file",
    }
    path.write_text(yaml.safe_dump(values))
    crowd = [{"name": "solo", "family": "s", "size": 1}]
    (tmp_path / "crowd.yaml").write_text(
        yaml.safe_dump({"crowd": crowd, "reward_models": ["crowd-rm"]})
    )
    return path


def test_the_order_of_the_layers(file: Path) -> None:
    """budget: all four; seed: file; clusters: environment; quota: default."""
    environ = {"CROWDSELECT_BUDGET": "8", "CROWDSELECT_CLUSTERS": "4"}
    argv = ["--config", str(file), "--budget", "9"]
    config = resolved(argv, environ)
    assert (config.budget, config.seed, config.clusters, config.quota) == (9, 3, 4, "equal")
    assert resolved(argv[:2], environ).budget == 8
    assert resolved(argv[:2]).budget == 7
    assert resolved(["--dataset", "x", "--reward-model", "r"]).budget == 1000


def test_every_flag_sets_its_key() -> None:
    values = {
        "--dataset": "d", "--format": "scores-wide", "--reward-model": "r", "--store": "s",
        "--out": "o", "--method": "reward", "--direction": "bottom", "--budget": "0.5",
        "--budget-tokens": "99", "--budget-tokens-of": "answer", "--tokenizer": "t",
        "--clusters": "3", "--weights": "1,2,3",
        "--quota": "proportional", "--response": "gemma-2-2b-it", "--embedder": "column:v",
        "--min-scores": "4", "--reference-model": "gemma-2-9b-it", "--include": "i",
        "--exclude": "e", "--limit": "5", "--export": "alpaca", "--seed": "6", "--workers": "7",
        "--shard-rows": "8", "--crowd": "paper", "--heldout-file": "h", "--heldout-answers": "best",
        "--length-of": "response", "--length-tokenizer": "t", "--teacher-model": "x",
        "--push-to": "org/name", "--executor": "ray",
    }  # fmt: skip
    switches = ["--allow-short", "--figures"]
    config = resolved([word for pair in values.items() for word in pair] + switches)
    assert (config.method, config.direction, config.budget) == ("reward", "bottom", 0.5)
    assert (config.budget_tokens, config.tokenizer) == (99, "t")
    assert (config.budget_tokens_of, config.token_budget) == ("answer", "99 answer tokens")
    assert (config.dataset.path, config.dataset.format) == ("d", "scores-wide")
    assert config.reward_models == ["r"]
    assert (config.store, config.out, config.include, config.exclude) == ("s", "o", "i", "e")
    assert (config.clusters, config.weights, config.quota) == (3, (1, 2, 3, 0), "proportional")
    assert (config.response, config.min_scores) == ("gemma-2-2b-it", 4)
    assert (config.embedder.kind, config.embedder.column) == ("column", "v")
    assert config.reference_model == "gemma-2-9b-it"
    assert (config.limit, config.seed, config.workers, config.shard_rows) == (5, 6, 7, 8)
    assert config.export == ["alpaca"]
    assert config.executor.kind == "ray"
    assert (config.allow_short, config.figures, config.push_to) == (True, True, "org/name")
    assert (config.length.of, config.length.tokenizer) == ("response", "t")
    assert config.teacher.model == "x"
    assert config.heldout == HeldoutConfig(file="h", answers="best")
    share = resolved(["--dataset", "d", "--reward-model", "r", "--heldout-share", "0.2"])
    assert share.heldout == HeldoutConfig(share=0.2)
    others = {
        *switches, "--heldout-share",
        "--ifd-model", "--ifd-variant", "--deita-complexity", "--deita-quality",
        "--rds-targets", "--rds-model",
        "--quality-only",  # needs a gate
        "--report",
    }  # fmt: skip
    assert {o.flag for o in COMMANDS["select"].options} == {*values, *others}


def test_repeated_reward_models_replace_the_list(file: Path) -> None:
    argv = ["--config", str(file)]
    assert resolved(argv).reward_models == ["r1", "r2"]
    assert resolved([*argv, "--reward-model", "b", "--reward-model", "a"]).reward_models == [
        "a", "b",
    ]  # fmt: skip
    environ = {"CROWDSELECT_REWARD_MODELS": "x,y"}
    assert resolved(argv, environ).reward_models == ["x", "y"]
    assert resolved(argv, {"CROWDSELECT_REWARD_MODELS": "[p, q]"}).reward_models == ["p", "q"]
    assert resolved([*argv, "--reward-model", "a"], environ).reward_models == ["a"]


def test_a_crowd_file_brings_its_reward_models_unless_others_are_named(file: Path) -> None:
    crowd = ["--crowd", str(file.parent / "crowd.yaml"), "--dataset", "d"]
    config = resolved(crowd)
    assert [m.name for m in config.models] == ["solo"]
    assert config.reward_models == ["crowd-rm"]
    assert resolved([*crowd, "--reward-model", "mine"]).reward_models == ["mine"]
    # the config file's own list stands against the crowd file's
    mixed = resolved(["--config", str(file), *crowd])
    assert ([m.name for m in mixed.models], mixed.reward_models) == (["solo"], ["r1", "r2"])


def test_exports_repeat_or_stand_in_a_list() -> None:
    base = ["--dataset", "d", "--reward-model", "r"]
    for argv in (["--export", "alpaca", "--export", "pairs"], ["--export", "alpaca,pairs"]):
        assert resolved(base + argv).export == ["alpaca", "pairs"]
    assert resolved(base, {"CROWDSELECT_EXPORT": "pairs"}).export == ["pairs"]


@pytest.mark.parametrize("weights", ["-1,1,2,0", "-0.5,1,1,1", "-.5,1,1,0", "1,-1,2,-3"])
def test_weights_may_begin_with_a_minus(weights: str) -> None:
    wanted = tuple(map(float, weights.split(",")))
    base = ["--dataset", "d", "--reward-model", "r"]
    assert resolved([*base, "--weights", weights]).weights == wanted
    assert resolved([*base, f"--weights={weights}"]).weights == wanted


NESTED: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"DATASET": "d"}, {"dataset": "d"}),
    ({"DATASET__PATH": "d"}, {"dataset": {"path": "d"}}),
    ({"DATASET": "d", "DATASET__FORMAT": "auto"}, {"dataset": {"path": "d", "format": "auto"}}),
    ({"DATASET__COLUMNS__CONTENT": "my"}, {"dataset": {"columns": {"content": "my"}}}),
    ({"DATASET": "{path: d, split: test}"}, {"dataset": {"path": "d", "split": "test"}}),
    ({"DATASET__STORAGE_OPTIONS__ANON": "true"}, {"dataset": {"storage_options": {"anon": True}}}),
    ({"EMBEDDER__KIND": "lexical"}, {"embedder": {"kind": "lexical"}}),
    (
        {"EMBEDDER": "org/model", "EMBEDDER__TASK": "text-matching"},
        {"embedder": {"kind": "sentence-transformers", "model": "org/model",
                      "task": "text-matching"}},
    ),
    ({"PAIRS__MIN_MARGIN": "0.5"}, {"pairs": {"min_margin": "0.5"}}),
    ({"WEIGHTS": "[1, 2, 3]"}, {"weights": [1, 2, 3]}),
    ({"ALLOW_SHORT": "true"}, {"allow_short": True}),
    ({"OUT": "2026-11-01", "STORE": "0123"}, {"out": "2026-11-01", "store": "0123"}),
    ({"OUT": "a: b: c"}, {"out": "a: b: c"}),
    ({"OUT": "no", "STORE": "on", "TOKENIZER": "~"},
     {"out": "no", "store": "on", "tokenizer": "~"}),
    ({"OUT": "{a: b}", "CROWD": "yes"}, {"out": "{a: b}", "crowd": "yes"}),
    ({"STORE": "", "LIMIT": " ", "DATASET__PATH": ""}, {}),
    ({"LIMIT": "null", "ALLOW_SHORT": "no"}, {"limit": None, "allow_short": False}),
    ({"BUDGET": "[5]", "RESPONSE": "[a, b]"}, {"budget": "[5]", "response": ["a", "b"]}),
    ({}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "values"), NESTED)
def test_environment_variables(environ: dict[str, str], values: dict[str, Any]) -> None:
    prefixed = {f"CROWDSELECT_{name}": value for name, value in environ.items()}
    assert from_environment(prefixed | {"PATH": "/bin", "AWS_PROFILE": "x"}) == values


def test_nested_variables_reach_the_config(file: Path) -> None:
    environ = {
        "CROWDSELECT_DATASET__PATH": "env.parquet",
        "CROWDSELECT_EMBEDDER__KIND": "column",
        "CROWDSELECT_EMBEDDER__COLUMN": "vec",
        "CROWDSELECT_PAIRS__MIN_MARGIN": "0.5",
        "CROWDSELECT_PAIRS__REJECTED": "3",
        "CROWDSELECT_OUT": "2026-11-01",
        "CROWDSELECT_BUDGET": "0.25",
        "CROWDSELECT_LIMIT": "12",
    }
    config = resolved(["--config", str(file)], environ)
    # the file's format stays where the environment names another path
    assert (config.dataset.path, config.dataset.format) == ("env.parquet", "generator-zoo")
    assert (config.embedder.kind, config.embedder.column) == ("column", "vec")
    assert (config.pairs.min_margin, config.pairs.rejected) == (0.5, 3)
    assert (config.out, config.budget, config.limit) == ("2026-11-01", 0.25, 12)
    assert resolved(["--config", str(file), "--dataset", "flag"], environ).dataset.path == "flag"


def test_another_embedder_does_not_inherit_the_first_ones_settings(tmp_path: Path) -> None:
    """A revision belongs to its model."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "dataset: d\nreward_models: [r]\nembedder: {kind: sentence-transformers, model: a/b, "
        "revision: abc}\n"
    )
    other = resolved(["--config", str(path), "--embedder", "c/d"]).embedder
    assert (other.model, other.revision) == ("c/d", None)
    tuned = resolved(["--config", str(path)], {"CROWDSELECT_EMBEDDER__BATCH_SIZE": "8"}).embedder
    assert (tuned.model, tuned.revision, tuned.batch_size) == ("a/b", "abc", 8)
    path.write_text("dataset: d\nreward_models: [r]\nembedder: a/b\n")
    tuned = resolved(["--config", str(path)], {"CROWDSELECT_EMBEDDER__BATCH_SIZE": "8"}).embedder
    assert (tuned.kind, tuned.model, tuned.batch_size) == ("sentence-transformers", "a/b", 8)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--bugdet", "5"], "unknown flag '--bugdet', did you mean --budget?; see --help"),
        (["--reward-models", "r"], "unknown flag '--reward-models', did you mean --reward-model?"),
        (
            ["--clusters=3", "--weigths=1,1,1"],
            "unknown flag '--weigths=1,1,1', did you mean --weig",
        ),
        (["zoo.parquet"], "unknown flag 'zoo.parquet'; see --help"),
        (
            ["--dataset", "tests/conftest.py", "tests/chain.py", "tests/zoos.py"],
            "'tests/chain.py' (and 1 more) belongs to no flag: did the shell expand a glob?",
        ),
        (["--budget"], "argument --budget: expected one argument; see --help"),
        (["--allow-short=yes"], "argument --allow-short: ignored explicit argument 'yes'"),
        (["--bud", "5"], "unknown flag '--bud'"),
    ],
)
def test_an_unknown_flag_names_the_nearest(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(argv)
    assert message in told(caught)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CROWDSELECT_BUGDET", "unknown environment variable CROWDSELECT_BUGDET, did you mean "
                               "'CROWDSELECT_BUDGET'?"),
        ("CROWDSELECT_", "unknown environment variable CROWDSELECT_"),
        ("CROWDSELECT_REWARD_MODEL", "did you mean 'CROWDSELECT_REWARD_MODELS'?"),
        ("CROWDSELECT_DATASET__PTH", "unknown key 'dataset.pth', did you mean 'path'?"),
        ("CROWDSELECT_EMBEDDER__KNID", "unknown key 'embedder.knid', did you mean 'kind'?"),
    ],
)  # fmt: skip
def test_an_unknown_variable_names_the_nearest(name: str, message: str) -> None:
    _, flags = parse(["--dataset", "d", "--reward-model", "r"])
    with pytest.raises(ConfigError) as caught:
        load(None, flags, {name: "x"})
    assert message in told(caught)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bugdet: 5", "unknown key 'bugdet', did you mean 'budget'?"),
        ("dataset: {path: d, formt: auto}", "unknown key 'dataset.formt', did you mean 'format'?"),
        ("budget: true", "budget: expected whole rows (200) or a fraction"),
        ("crowd: [{name: a, family: f, size: 1, famly: g}]", "unknown key 'crowd.0.famly' (a)"),
        ("crowd: nowhere.yaml", "crowd file 'nowhere.yaml' does not exist"),
        ("- a", "holds no mapping of keys, e.g. 'budget: 1000'"),
        ("", "holds no mapping of keys"),
        ("budget: 5\nseed: 1\nbudget: 6", "key 'budget' stands twice, in line 1 and in line 3"),
        ("dataset:\n  path: a\n  'path': b", "key 'path' stands twice, in line 2 and in line 3"),
        ("a: [", "cannot be read as YAML: while parsing"),
        ("!!python/object/apply:os.getcwd []", "cannot be read as YAML: could not determine"),
    ],
)
def test_a_config_file_that_cannot_be(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises((ConfigError, CrowdError)) as caught:
        resolved(["--config", str(path), "--reward-model", "r"] +
                 ([] if "dataset" in text else ["--dataset", "d"]))  # fmt: skip
    assert message in told(caught)


def test_a_config_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config file .*nowhere.yaml' does not exist"):
        from_file(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError, match="Is a directory"):
        from_file(str(tmp_path))


def test_relative_paths_are_relative_to_where_the_command_runs(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "crowd.yaml").write_text(
        yaml.safe_dump({"crowd": CROWD[:2], "reward_models": ["here"]})
    )
    monkeypatch.chdir(work)
    config = resolved(["--config", "../config.yaml", "--crowd", "crowd.yaml"])
    assert [m.name for m in config.models] == NAMES[:2]
    assert (config.dataset.path, config.out) == ("file.parquet", "out/of/file")


def test_without_a_data_set_the_sample_stands_in() -> None:
    config = resolved([])
    assert Path(config.dataset.path).name == "zoo.parquet"
    assert Path(config.dataset.path).parent.name == "sample"
    assert (config.budget, config.clusters, config.reward_models) == (40, 8, ["pmi"])
    assert resolved(["--budget", "5"]).budget == 5
    # a data set of one's own gets nothing of the sample's
    assert resolved(["--dataset", "d", "--reward-model", "r"]).budget == 1000


def test_a_config_file_without_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("budget: 5\nreward_models: [r]\n")
    with pytest.raises(ConfigError, match="key 'dataset' is missing"):
        resolved(["--config", str(tmp_path / "c.yaml")])
    assert resolved(["--config", str(tmp_path / "c.yaml"), "--dataset", "d"]).budget == 5


def test_a_file_of_training_rows_needs_no_data_set_but_for_held_out_rows(tmp_path: Path) -> None:
    train = {"base_model": "b", "train_file": "t.jsonl"}
    for training, more, refused in (
        (train, {}, None),
        (train, {"heldout": {"share": 0.1}, "dataset": "d.jsonl"}, None),
        (train, {"heldout": {"share": 0.1}}, "dataset is missing: heldout sets rows of it aside"),
        ({"base_model": "b"}, {}, "dataset is missing: the model is trained on a selection of it"),
        (None, {"dataset": "d.jsonl"}, "training is missing"),
    ):
        evaluation = {"benchmarks": [{"kind": "lm-eval", "tasks": "t"}]}
        keys = {"training": training, "evaluation": evaluation, **more}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(keys))
        for flow in ("finetune", "evaluate") if training else ("finetune",):
            if refused is None:
                load(str(tmp_path / "c.yaml"), {}, {}, flow)
                continue
            with pytest.raises(ConfigError, match=refused):
                load(str(tmp_path / "c.yaml"), {}, {}, flow)
    flags = {"training": train}
    assert load(None, flags, {}, "finetune").dataset is None  # the sample does not stand in
    sample = load(None, {"training": {"base_model": "b"}}, {}, "finetune").dataset
    assert Path(sample.path).name == "zoo.parquet"


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in COMMANDS["select"].flags)
