"""The managed vLLM server with the real vLLM of .venv-vllm: started four times in all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
import torch
from processes import members, with_words
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from vllm_models import CONTEXT, make_chat, make_classifier, make_smollm2

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import (
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import Answer, Failure, Request
from crowdselect_core.generate.transformers.engine import TransformersEngine
from crowdselect_core.generate.vllm.engine import VllmEngine
from crowdselect_core.generate.vllm.this_machine import ThisMachine
from crowdselect_core.reward.classifier.vllm_scorer import ManagedClassifier

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-vllm/bin/python"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
}
# vLLM's engine computes in its own process, and starts no other, which would import torch too.
SMALL = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
CHATS = 12  # requests that can be answered
KILL_AFTER, WIDTH = 3, 4  # the server is killed after so many answers, with so many on their way
PAIRS = [("What is 2 + 2?", "4"), ("Say hello.", "Hello there, friend!"), ("Go on.", "on " * 200)]
MAX_LENGTH = 64

needs_vllm = pytest.mark.skipif(
    not (ROOT / ".venv-vllm/ready").exists(), reason="no real vLLM here: make vllm-env"
)


@pytest.fixture(scope="module", autouse=True)
def allowed() -> Iterator[None]:
    """Let this process run the interpreter that a config names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROWDSELECT_ALLOW_COMMANDS", "1")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of another service")
        yield


def vllm(**options: Any) -> VllmEngineConfig:
    keys: dict[str, Any] = {"python": str(PYTHON), "dtype": "float32", "startup_timeout": 400}
    args = {"enforce_eager": True, **options.pop("args", {})}
    environment = ENVIRONMENT | options.pop("environment", SMALL)
    return VllmEngineConfig(kind="vllm", environment=environment, args=args, **{**keys, **options})


def servers_under(pid: int) -> list[psutil.Process]:
    """Return the API servers that guards below a process have started and that live."""
    found = []
    for child, words in with_words(psutil.Process(pid).children(recursive=True)):
        with suppress(ProcessLookupError):
            leads = os.getpgid(child.pid) == child.pid
            if leads and words[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]:
                found.append(child)
    return found


@dataclass
class Chat:
    """What came of the one run of chats, in which the first server is killed."""

    answers: list[Answer] = field(default_factory=list)
    servers: list[int] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    raised: BaseException | None = None
    left: list[psutil.Process] = field(default_factory=list)
    log: str = ""


def text_of(number: int) -> str:
    return f"Tell me of the number {number % 3} and of Paris."


def seed_of(number: int) -> int:
    return number // 3 % 2


def chats() -> Iterator[Request]:
    """Every prompt and seed twice, the two of them 6 requests apart, and one that is too long."""
    for number in range(CHATS):
        prompt = Message(role="user", content=text_of(number))
        yield Request(b"%016d" % number, (prompt,), seed=seed_of(number))
    yield Request(b"long", (Message(role="user", content="word " * CONTEXT),), seed=0)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Chat:
    folder = tmp_path_factory.mktemp("vllm")
    model = str(make_smollm2(folder / "models"))
    args = {"max_model_len": CONTEXT}
    config = vllm(model=model, concurrency=WIDTH, restarts=1, args=args)
    sampling = SamplingConfig(temperature=1.0, max_tokens=32)
    engine = VllmEngine(
        "../tiny chat", config, sampling, host=ThisMachine(log_folder=folder / "logs")
    )
    engine.check()
    seen = Chat()

    def done(answer: Answer) -> None:
        seen.answers.append(answer)
        for server in servers_under(os.getpid()):
            if server.pid not in seen.servers:
                seen.servers.append(server.pid)
                seen.command = server.cmdline()
                seen.keys.append(server.environ()["VLLM_API_KEY"])
                seen.told |= server.environ().keys()
            if len(seen.answers) == KILL_AFTER:
                server.kill()
        if len(seen.answers) == CHATS + 1:
            raise KeyError("the run's own trouble")

    try:
        engine.run(chats(), done)
    except KeyError as e:
        seen.raised = e
    seen.left = [process for group in seen.servers for process in members(group)]
    (log,) = (folder / "logs").iterdir()
    seen.log = log.read_text(errors="replace")
    return seen


@needs_vllm
def test_a_killed_server_is_replaced_and_every_request_answered_once(chat: Chat) -> None:
    assert len(chat.servers) == 2
    expected = {request.key: 1 for request in chats()}
    assert Counter(answer.key for answer in chat.answers) == expected
    good = [answer for answer in chat.answers if answer.key != b"long"]
    assert [answer.error for answer in good] == [None] * CHATS
    assert all(answer.text and answer.finish_reason in ("stop", "length") for answer in good)
    assert any("Paris" in str(answer.text) for answer in good)  # the model's own weights answered


@needs_vllm
def test_no_process_is_left_when_done_raises(chat: Chat) -> None:
    assert isinstance(chat.raised, KeyError)
    assert chat.left == []


@needs_vllm
def test_a_seed_decides_an_answer_whichever_server_gives_it(chat: Chat) -> None:
    texts: dict[tuple[str, int], set[str | None]] = {}
    for answer in chat.answers:
        if answer.key != b"long":
            number = int(answer.key)
            texts.setdefault((text_of(number), seed_of(number)), set()).add(answer.text)
    assert [len(answers) for answers in texts.values()] == [1] * 6
    assert len(set.union(*texts.values())) == 6


@needs_vllm
def test_a_model_without_a_template_is_asked_in_the_plain_format(tmp_path: Path) -> None:
    folder = make_chat(tmp_path / "model")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        if (folder / name).exists():
            (folder / name).rename(tmp_path / name)
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    told.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    sampling = SamplingConfig(temperature=0, max_tokens=12)
    ours = TransformersEngineConfig(kind="transformers", model=str(folder), dtype="float32")
    served = vllm(model=str(folder))
    got: dict[str, list[Answer]] = {}
    for engine in (
        VllmEngine("tiny", served, sampling),
        TransformersEngine("tiny", ours, sampling),
    ):
        answers: list[Answer] = []
        asked = [
            Request(bytes([i]) * 16, (Message(role="user", content=text),), 0)
            for i, text in enumerate(("Say a word.", "What is {x}?\n"))
        ]
        with closing(engine):
            engine.run(iter(asked), answers.append)
        got[type(engine).__name__] = sorted(answers, key=lambda a: a.key)
    one, other = got.values()
    assert [a.prompt_tokens for a in one] == [a.prompt_tokens for a in other]
    assert [a.error for a in one] == [None, None]
    assert [a.text for a in one] == [a.text for a in other]


@needs_vllm
def test_a_prompt_that_is_too_long_is_the_rows_fault(chat: Chat) -> None:
    (long,) = [answer for answer in chat.answers if answer.key == b"long"]
    assert long.failure is Failure.ROW
    assert str(long.error).startswith("prompt_too_long")


@needs_vllm
def test_the_servers_key_is_told_to_nobody(chat: Chat) -> None:
    assert len(set(chat.keys)) == len(chat.servers)
    assert "127.0.0.1" in chat.command
    for key in chat.keys:
        assert len(key) >= 32
        assert key not in " ".join(chat.command)
        assert key not in chat.log
    assert "PATH" in chat.told
    assert "AWS_SECRET_ACCESS_KEY" not in chat.told


SCORE = """
import json, sys, time
from crowdselect_core.generate.base import Message
from crowdselect_core.reward.base import Item
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.reward.classifier.vllm_scorer import ManagedClassifier

config, pairs = json.load(sys.stdin)
scorer = ManagedClassifier(ClassifierReward.model_validate(config))
scores = {}
scorer.check()
for prompt, answer in pairs:  # one run each: the server stays for the next
    item = Item(prompt.encode(), (Message(role="user", content=prompt),), answer)
    scorer.run(iter([item]), lambda score: scores.update({prompt: [*score.scores, score.error]}))
print(json.dumps(scores), flush=True)
time.sleep(600)
"""


def raw_logits(model: Path) -> list[float]:
    """Score the pairs with transformers, by hand."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    classifier = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32)
    logits = []
    for prompt, answer in PAIRS:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:MAX_LENGTH]
        with torch.inference_mode():
            logits.append(float(classifier(torch.tensor([ids])).logits[0, 0]))
    return logits


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short name: that of vLLM's sockets in it has at most 107 characters."""
    with TemporaryDirectory(prefix="vllm-") as folder:
        yield Path(folder)


@needs_vllm
def test_raw_logits_are_served_and_kill_9_of_the_run_ends_the_server(
    tmp_path: Path, short: Path
) -> None:
    model = make_classifier(tmp_path / "model")
    config = ClassifierReward(
        name="tiny", kind="classifier", model=str(model), max_length=MAX_LENGTH, dtype="float32",
        engine=vllm(environment={}),  # with all of vLLM's processes
    )  # fmt: skip
    run = subprocess.Popen(
        [sys.executable, "-c", SCORE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=ROOT, env={**os.environ, "TMPDIR": str(short)},
    )  # fmt: skip
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.write(json.dumps([config.model_dump(mode="json"), PAIRS]).encode())
    run.stdin.close()
    try:
        scores = json.loads(run.stdout.readline())
        (group,) = [server.pid for server in servers_under(run.pid)]
        assert len(members(group)) >= 3
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert [scores[prompt][-1] for prompt, _ in PAIRS] == [None] * len(PAIRS)
    expected = raw_logits(model)
    assert max(expected) - min(expected) > 0.1
    assert [scores[prompt][0] for prompt, _ in PAIRS] == pytest.approx(expected, abs=1e-3)
    deadline = time.monotonic() + 120
    while members(group):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@needs_vllm
def test_a_server_that_cannot_start_names_the_cause(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/README.md").write_text("no weights")
    engine = VllmEngine("lost", vllm(model=str(tmp_path / "model")), SamplingConfig())
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        engine.check()
    answers: list[Answer] = []
    with pytest.raises(ConfigError) as complaint:
        engine.run(chats(), answers.append)
    told = str(complaint.value)
    assert "vllm server of 'lost' ended before it was ready: Value error, Invalid repo" in told
    assert "its last lines:" in told
    assert answers == []
    assert servers_under(os.getpid()) == []


@needs_vllm
def test_a_server_is_not_waited_for_too_long_or_when_the_run_is_to_stop(tmp_path: Path) -> None:
    model = make_chat(tmp_path / "model")
    engine = VllmEngine("slow", vllm(model=str(model), startup_timeout=1.0), SamplingConfig())
    with pytest.raises(ConfigError, match=r"not ready after 1 s .raise engine.startup_timeout"):
        engine.run(chats(), lambda answer: None)
    engine.stopped = lambda: True
    with pytest.raises(Stopped):
        engine.run(chats(), lambda answer: None)
    assert servers_under(os.getpid()) == []


@pytest.mark.parametrize(
    ("python", "why"),
    [(sys.executable, "has no vLLM"), ("/bin/echo", "is no Python"), ("/none", "is no program")],
)
def test_an_interpreter_without_vllm_is_refused(python: str, why: str) -> None:
    engine = VllmEngine("x", vllm(model="gone", python=python), SamplingConfig())
    for attempt in (engine.check, lambda: engine.run(chats(), lambda answer: None)):
        with pytest.raises(ConfigError, match=why) as complaint:
            attempt()
        assert "make vllm-env" in str(complaint.value)
        assert "pip install -e '.[vllm]'" in str(complaint.value)


def test_no_interpreter_of_a_config_runs_unless_commands_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CROWDSELECT_ALLOW_COMMANDS")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/runs\necho yes\n")
    program.chmod(0o755)
    engine = VllmEngine("x", vllm(model="gone", python=str(program)), SamplingConfig())
    for attempt in (engine.check, lambda: engine.run(chats(), lambda answer: None)):
        with pytest.raises(ConfigError, match=r"engine\.python: .* CROWDSELECT_ALLOW_COMMANDS=1"):
            attempt()
    assert not (tmp_path / "runs").exists()


def test_a_reward_models_engine_cannot_contradict_it(tmp_path: Path) -> None:
    model = str(make_classifier(tmp_path / "model"))
    for key, value in {"model": "other/one", "dtype": "float16", "quantization": "fp8"}.items():
        config = ClassifierReward(
            name="tiny", kind="classifier", model=model, dtype="float32",
            engine=vllm(**{key: value}),
        )  # fmt: skip
        with pytest.raises(ConfigError, match=f"engine.{key}"):
            ManagedClassifier(config)
