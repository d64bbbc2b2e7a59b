"""What a dry run says of the stages: those of the flow's own story, in its order."""

from pathlib import Path
from typing import Any

import pytest
from little import CROWD, OTHER, REWARD, parquet, rows

from crowdselect_core.config.load import load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.token_count import estimate
from crowdselect_core.planning.dry_run import forecast
from crowdselect_core.stages.base import InProcess, Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from flows.finetune import story
from flows.select import chosen

STAGES = [
    *("instructions", "scores", "metrics", "answers", "embedder", "embeddings", "centers"),
    *("clusters", "lengths", "ranking", "selection", "pairs", "comparison"),
]


def config_of(folder: Path, **keys: Any) -> SelectConfig:
    data = folder / "zoo.parquet"
    if not data.exists():
        parquet(data, rows(30))
    given = {
        "dataset": str(data), "crowd": CROWD, "reward_models": [REWARD, OTHER], "budget": 6,
        "clusters": 2, "export": ["pairs"], "store": str(folder / "store"), **keys,
    }  # fmt: skip
    return load(None, given, {})


def states(config: SelectConfig) -> dict[str, str]:
    lines = [line for line in forecast(config, chosen) if line.startswith("stage      ")]
    return dict(line.removeprefix("stage      ").split(": ") for line in lines)


def run(config: SelectConfig) -> None:
    chosen(config, run=InProcess(Store(config.store)))


def test_an_empty_store_and_one_that_has_it_all(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert list(states(config).items()) == [(name, "to compute") for name in STAGES]
    assert not (tmp_path / "store").exists()
    run(config)
    found = states(config)
    assert list(found) == STAGES
    assert all(state.startswith("Cached, ") for state in found.values())
    assert (found["scores"], found["selection"]) == ("Cached, 30 rows", "Cached, 6 rows")


@pytest.mark.parametrize(
    ("keys", "computed"),
    [
        ({"budget": 7}, ["selection", "pairs", "comparison"]),
        ({"weights": [1, 1, 1]}, ["ranking", "selection", "pairs", "comparison"]),
        ({"clusters": 3}, ["centers", "clusters", "selection", "pairs", "comparison"]),
        ({"reward_models": [REWARD]}, [s for s in STAGES if s not in
                                       ("instructions", "embedder", "embeddings", "centers",
                                        "clusters")]),
    ],
)  # fmt: skip
def test_after_what_is_missing_everything_that_follows_is_to_compute(
    tmp_path: Path, keys: dict[str, Any], computed: list[str]
) -> None:
    run(config_of(tmp_path))
    found = states(config_of(tmp_path, **keys))
    assert [name for name, state in found.items() if state == "to compute"] == computed


def test_without_clusters_there_are_no_stages_of_theirs(tmp_path: Path) -> None:
    config = config_of(tmp_path, clusters=0, export=[])
    expected = [s for s in STAGES if s not in STAGES[4:8] and s != "pairs"]
    assert list(states(config)) == expected


def test_the_budget_is_said_as_it_is_given(tmp_path: Path) -> None:
    for budget, words in [(6, "6 rows"), (0.5, "50% of the eligible rows")]:
        assert f"budget     {words}" in forecast(config_of(tmp_path, budget=budget), chosen)


def test_what_the_dry_run_calls_to_compute_is_what_a_run_computes(tmp_path: Path) -> None:
    run(config_of(tmp_path))
    config = config_of(tmp_path, method="difficulty", clusters=3)
    expected = [name for name, state in states(config).items() if state == "to compute"]
    built: list[str] = []
    runner = InProcess(Store(config.store))

    def noted(stage: Stage[Any], config: SelectConfig, *inputs: Any, **named: Any) -> Ref:
        ref = runner(stage, config, *inputs, **named)
        built.extend([] if ref.cached else [stage.name])
        return ref

    chosen(config, run=noted)
    assert built == expected


def test_a_training_on_pairs_of_one_model_is_refused_before_its_selection(tmp_path: Path) -> None:
    training = {"base_model": "unread", "loss": "simpo"}
    config = config_of(tmp_path, export=[], response="ant-1b", training=training).resolved()
    for look in (lambda: forecast(config, chosen, "finetune"), lambda: story(config)):
        with pytest.raises(
            ConfigError, match=r"training\.loss simpo: response 'ant-1b' leaves one"
        ):
            look()
    assert "selection: to compute" in " ".join(forecast(config, chosen, "select"))


def test_it_says_what_spreads_over_a_cluster(tmp_path: Path) -> None:
    config = config_of(tmp_path, executor={"kind": "ray", "address": "10.0.0.1:6379"})
    found = states(config)
    spread = {name for name, state in found.items() if state == "to compute on the Ray cluster"}
    assert spread == {"scores", "metrics", "answers", "embeddings", "clusters", "lengths"}
    assert {found[name] for name in found.keys() - spread} == {"to compute"}
    [line] = [line for line in forecast(config, chosen) if line.startswith("executor ")]
    assert "ray at 10.0.0.1:6379: at most 1,000 parts pending" in line
    (tmp_path / "half").mkdir()
    resources = {"embeddings": {"memory": 3 << 30}}
    config = config_of(tmp_path / "half", executor={"kind": "ray", "resources": resources})
    [line] = [line for line in forecast(config, chosen) if line.startswith("memory ")]
    assert "for a part 201 MiB (scores, answers), 3,072 MiB (embeddings); " in line

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    live = [{"name": "pmi", "kind": "likelihood", "model": str(model)}]
    for executor, is_marked in (("ray", True), ("threads", False)):
        config = config_of(tmp_path, reward_models=live, executor=executor)
        [bill] = [li for li in forecast(config, chosen, "score") if li.startswith("scores ")]
        assert "120 answers" in bill
        assert ("on the Ray cluster" in bill) == is_marked


def test_it_says_where_vllm_servers_are_placed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = "crowdselect_core.planning.generation_cost._counter"  # its tokenizer needs torch
    monkeypatch.setattr(counted, lambda model: (estimate, "UTF-8 bytes / 4"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    engine = {"kind": "vllm", "model": str(model), "data_parallel_size": 2}
    (tmp_path / "data.jsonl").write_text('{"instruction": "Say a word."}\n')
    live = [
        {"name": n, "family": "f", "size": n, "system_prompt": n, "engine": engine}
        for n in ("1", "2")
    ]
    judge = {"name": "j", "kind": "judge", "engine": {**engine, "data_parallel_size": 3}}
    for executor, is_marked in (("ray", True), ("threads", False)):
        config = config_of(
            tmp_path, dataset=str(tmp_path / "data.jsonl"), crowd=live, reward_models=[judge],
            executor=executor, budget=1, clusters=0,
        )  # fmt: skip
        lines = forecast(config, chosen)
        answers, _ = [line for line in lines if line.startswith("answers ")]
        [scores] = [line for line in lines if line.startswith("scores ")]
        assert "1: 1 request (0% cached)" in answers
        assert ("2 vLLM servers on the Ray cluster" in answers) == is_marked
        assert ("3 vLLM servers on the Ray cluster" in scores) == is_marked
