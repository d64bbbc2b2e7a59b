"""A managed server that stays between runs; the faulty endpoint stands in for vLLM."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from vllm_stand_in import StandIn

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.generate.base import Answer, EngineDown, Request
from crowdselect_core.generate.vllm.command import lacks_template
from crowdselect_core.generate.vllm.engine import VllmEngine
from crowdselect_core.generate.vllm.this_machine import ThisMachine
from crowdselect_core.reward.base import Item, Score
from crowdselect_core.reward.factory import Resources, scorer_of
from crowdselect_core.reward.judge.scorer import JudgeScorer


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where logs go
    monkeypatch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")  # engine.python is one
    return StandIn(tmp_path)


def requests(*numbers: int) -> Iterator[Request]:
    for n in numbers:
        yield Request(n.to_bytes(16, "big"), (Message(role="user", content=f"Say {n}."),), seed=0)


def engine_of(stand_in: StandIn, folder: Path, *words: str, **keys: Any) -> VllmEngine:
    config = stand_in.config(*words, **keys)
    return VllmEngine(
        "kept", config, SamplingConfig(), host=ThisMachine(log_folder=folder / "logs")
    )


def test_a_judges_server_starts_once_for_all_crowd_models(stand_in: StandIn) -> None:
    judge = JudgeReward(kind="judge", name="j", engine=stand_in.config())
    scorer = scorer_of(judge, Resources(str))
    assert isinstance(scorer, JudgeScorer)
    scores: list[Score] = []
    for model in range(3):
        prompt = (Message(role="user", content="Hi?"),)
        items = [Item(bytes([model, n]) + b"\0" * 14, prompt, f"answer {n}") for n in range(4)]
        scorer.run(iter(items), scores.append)
        assert len(stand_in.starts) == len(stand_in.alive) == 1
    assert [s.error for s in scores] == [None] * 12
    assert all(1 <= s.scores[0] <= 10 for s in scores)
    scorer.close()
    assert stand_in.alive == []


def test_a_closed_server_starts_again_when_it_is_needed(stand_in: StandIn, tmp_path: Path) -> None:
    engine = engine_of(stand_in, tmp_path, restarts=0)
    got: list[Answer] = []
    for number in range(2):
        engine.run(requests(number), got.append)
        engine.close()
        assert len(stand_in.starts) == number + 1
        assert stand_in.alive == []
    assert [answer.error for answer in got] == [None, None]
    assert len(list((tmp_path / "logs").iterdir())) == 1


def test_nothing_to_ask_starts_no_server(stand_in: StandIn, tmp_path: Path) -> None:
    engine = engine_of(stand_in, tmp_path)
    engine.run(requests(), lambda answer: None)
    assert stand_in.starts == []


def test_no_server_is_left_when_a_run_raises(stand_in: StandIn, tmp_path: Path) -> None:
    engine = engine_of(stand_in, tmp_path)

    def done(answer: Answer) -> None:
        raise KeyError("the run's own trouble")

    with pytest.raises(KeyError):
        engine.run(requests(1), done)
    assert len(stand_in.starts) == 1
    assert stand_in.alive == []


def test_a_server_that_died_between_two_runs_is_replaced(stand_in: StandIn, tmp_path: Path) -> None:
    engine = engine_of(stand_in, tmp_path, restarts=1)
    got: list[Answer] = []
    try:
        engine.run(requests(1), got.append)
        (first,) = stand_in.alive
        psutil.Process(first).kill()
        engine.run(requests(2), got.append)
        assert len(stand_in.starts) == 2
        psutil.Process(stand_in.starts[-1]).kill()
        with pytest.raises(EngineDown, match=r"died 2 times .restarts: 1., at last with exit code"):
            engine.run(requests(3), got.append)
    finally:
        engine.close()
    assert [answer.error for answer in got] == [None, None]
    assert len(stand_in.starts) == 2


def test_what_a_dying_server_takes_along_is_asked_again(stand_in: StandIn, tmp_path: Path) -> None:
    engine = engine_of(stand_in, tmp_path, "--die-after", "5", restarts=3, concurrency=2)
    got: list[Answer] = []
    engine.run(requests(*range(12)), got.append)
    engine.close()
    assert sorted(answer.key for answer in got) == [r.key for r in requests(*range(12))]
    assert [answer.error for answer in got] == [None] * 12
    assert 3 <= len(stand_in.starts) <= 4
    assert stand_in.alive == []


def test_a_folder_without_a_chat_template_is_told_from_others(
    stand_in: StandIn, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": null}')

    def lacks(**args: str) -> bool:
        return lacks_template(str(folder), stand_in.config(args=args))

    assert lacks()
    assert not lacks(chat_template="mine.jinja")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert not lacks()
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert not lacks()
    assert not lacks_template("org/model", stand_in.config())
