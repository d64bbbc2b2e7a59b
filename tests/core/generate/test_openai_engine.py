"""The openai engine against an endpoint that fails in every way it can think of."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from endpoint import answers, engine, request, served
from servers import free_port

from crowdselect_core.chat import Message
from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.config.key_variable import takes_default_key
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.generate.base import Answer, Failure, Request
from crowdselect_core.generate.openai import trouble
from crowdselect_core.generate.openai.engine import endpoint_name
from crowdselect_core.generate.openai.request_body import encoded, fixed_body
from crowdselect_core.generate.openai.response import read_reply
from crowdselect_core.testing.replies import answer_text

KEY = "sk-MARKEDkey-0123456789"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_every_request_is_answered_once_with_its_own_text() -> None:
    with served() as server:
        got: list[Answer] = []
        asked = [request(i, f"topic {i}", seed=i) for i in range(200)]
        engine(server.url).run(iter(asked), got.append)
    assert sorted(a.key for a in got) == [r.key for r in asked]
    for answer in got:
        number = int.from_bytes(answer.key, "big")
        body = {"model": "model", "seed": number, "temperature": 1.0}
        text = answer_text(body | {"messages": [{"role": "user", "content": f"topic {number}"}]})
        assert answer.text == text
        assert (answer.finish_reason, answer.prompt_tokens) == ("stop", 2)
        assert answer.completion_tokens == len(text.split())


def test_nothing_to_ask_is_no_error() -> None:
    with served() as server:
        assert answers(engine(server.url)) == []


def test_a_request_says_what_it_must_and_no_more() -> None:
    with served() as server:
        answers(engine(server.url, SamplingConfig(temperature=0.5, max_tokens=7)), "hello")
        assert server.endpoint.last["body"] == {
            "model": "model",
            "messages": [{"role": "user", "content": "hello"}],
            "temperature": 0.5,
            "top_p": 1.0,
            "max_tokens": 7,
        }


def test_sampling_seed_template_and_extra_body_are_passed() -> None:
    sampling = SamplingConfig(
        top_k=20, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=-0.5,
        stop=["END"], top_p=0.9,
    )  # fmt: skip
    extra = {"top_k": 5, "max_tokens": None, "max_completion_tokens": 9}
    with served(models=()) as server:
        asked = engine(
            server.url, sampling, {"enable_thinking": False}, model="there", extra_body=extra,
            default_headers={"X-Team": "crowd"},
        )  # fmt: skip
        asked.run(iter([request(1, "hello", seed=77)]), lambda _: None)
        told = server.endpoint.last["body"]
        assert server.endpoint.last["headers"]["x-team"] == "crowd"
    assert told.pop("messages")
    assert told == {
        "model": "there", "temperature": 1.0, "top_p": 0.9, "seed": 77, "stop": ["END"],
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.1,
        "min_p": 0.1, "top_k": 5, "max_completion_tokens": 9,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip


def test_extra_body_wins_over_what_a_request_asks_for() -> None:
    asked = Request(b"k", ({"role": "user", "content": "x"},), None, 0.0, 512)
    extra = {"max_tokens": None, "max_completion_tokens": 9, "temperature": 1.0}
    config = OpenAIEngineConfig(kind="openai", extra_body=extra)
    fixed = fixed_body("m", "m", config, SamplingConfig(), {})
    told = json.loads(encoded(fixed, asked, extra))
    assert (told["temperature"], told["max_completion_tokens"]) == (1.0, 9)
    assert "max_tokens" not in told
    fixed = fixed_body("m", "m", OpenAIEngineConfig(kind="openai"), SamplingConfig(), {})
    told = json.loads(encoded(fixed, asked, {}))
    assert (told["temperature"], told["max_tokens"]) == (0.0, 512)


@pytest.mark.parametrize("taken", ["messages", "stream", "n"])
def test_extra_body_cannot_take_over_the_request(taken: str) -> None:
    with pytest.raises(ConfigError, match=f"extra_body cannot set {taken}"):
        engine("http://127.0.0.1:1/v1", extra_body={taken: 1})


PASSING = [
    ("429", "rate_limited"), ("500", "server_error"), ("503", "server_error"),
    ("cut", "connection"), ("cut_body", "connection"), ("half_json", "bad_reply"),
    ("no_choices", "bad_reply"), ("choices_string", "bad_reply"), ("no_message", "bad_reply"),
    ("content_number", "bad_reply"), ("hang", "timeout"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), PASSING)
def test_what_may_pass_is_asked_again_and_then_told(kind: str, code: str) -> None:
    with served(retry_after=0.05) as server:
        asked = engine(server.url, max_retries=2, timeout=2 if kind == "hang" else 120)
        (lasting,) = answers(asked, f"b [[fault:{kind}]]")
        assert server.endpoint.kinds[kind] == 3
        # Where answers are given up soon, a busy machine may need more tries.
        more = engine(server.url, max_retries=20, timeout=2) if kind == "hang" else asked
        (passing,) = answers(more, f"a [[fault:{kind}*2]]")
        assert server.endpoint.kinds[kind] == 3 + 2
    assert passing.text is not None
    assert passing.error is None
    assert lasting.text is None
    assert lasting.error is not None
    assert lasting.error.startswith(f"{code}: {server.url}: ")
    assert lasting.failure is Failure.INFRASTRUCTURE


ROWS = [
    ("too_long", "prompt_too_long"), ("policy", "content_filter"),
    ("content_filter", "content_filter"), ("large", "answer_too_large"), ("nul", "nul_byte"),
    ("invalid_utf8", "invalid_utf8"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), ROWS)
def test_what_lies_in_the_row_is_asked_once(kind: str, code: str) -> None:
    with served() as server:
        bad, good = answers(engine(server.url), f"a [[fault:{kind}]]", "b")
        assert server.endpoint.asked == 2
    assert bad.error is not None
    assert bad.error.startswith(f"{code}: ")
    assert (bad.text, bad.failure) == (None, Failure.ROW)
    assert good.text


def test_a_request_that_the_server_does_not_take_is_no_fault_of_the_row() -> None:
    with served() as server:
        [bad] = answers(engine(server.url), "a [[fault:400]]")
        assert server.endpoint.asked == 1  # asked again in the same run it would fail again
    assert bad.error is not None
    assert bad.error.startswith("bad_request: ")
    assert bad.failure is Failure.INFRASTRUCTURE


def test_a_prompt_over_the_servers_length_lies_in_the_row() -> None:
    with served(max_prompt_chars=100) as server:
        long, short = answers(engine(server.url), "word " * 30, "word")
    assert long.error is not None
    assert long.error.startswith("prompt_too_long: ")
    assert "maximum context length is 1024 tokens" in long.error
    assert short.text


def test_a_prompt_that_is_no_utf8_lies_in_the_row() -> None:
    with served() as server:
        (bad,) = answers(engine(server.url), "half a pair \ud83d")
    assert bad.error == "bad_request: the prompt is no valid UTF-8"
    assert bad.failure is Failure.ROW


def test_faults_by_rate_lose_and_double_nothing() -> None:
    rates = dict.fromkeys(("429", "500", "503", "cut", "cut_body", "half_json"), 0.04)
    with served(rates=rates, retry_after=0.01) as server:
        texts = [f"topic {i}" for i in range(300)]
        got = answers(engine(server.url, max_retries=20, concurrency=32), *texts)
        assert sum(server.endpoint.kinds.values()) > 30
    assert len({a.key for a in got}) == len(got) == 300
    assert all(a.text for a in got)


def test_nobody_asks_before_a_retry_after_is_over() -> None:
    with served(retry_after=1.0) as server:
        got = answers(
            engine(server.url, concurrency=1), "a [[fault:429*1]]", "b", "c [[fault:429*1]]"
        )
        assert server.endpoint.asked == 5
        assert server.endpoint.early == 0
    assert all(a.text for a in got)


def test_retry_after_is_read_as_seconds_or_a_date_and_capped() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = format_datetime(now + timedelta(seconds=40), usegmt=True)
    read = [
        trouble.retry_after({"retry-after": given}, now)
        for given in ("7", "0.5", date, "99999", "-3", "soon", "nan", "")
    ]
    assert read == [7.0, 0.5, 40.0, 120.0, 0.0, None, None, None]
    assert trouble.retry_after({}, now) is None


def reply(message: dict[str, Any], **choice: Any) -> bytes:
    """Return the bytes of a completion with this message."""
    return json.dumps(
        {"choices": [{"message": message, "finish_reason": "stop"} | choice]}
    ).encode()


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"content": "yes"}, "yes", None),
        ({"content": "yes", "reasoning": "hm"}, "yes", "hm"),
        ({"content": "yes", "reasoning_content": "hm"}, "yes", "hm"),
        ({"content": "<think>\nhm\n</think>\n\nyes"}, "yes", "hm"),
        ({"content": "<think>cut off"}, "", "cut off"),
        ({"content": "hm\n</think>\n\nyes"}, "yes", "hm"),
        ({"content": "write <think>x</think>"}, "write <think>x</think>", None),
        ({"content": "<think>a</think>b", "reasoning": "hm"}, "<think>a</think>b", "hm"),
        ({"content": ""}, "", None),
        ({"content": None, "reasoning": "hm"}, "", "hm"),
    ],
)
def test_thinking_is_told_apart(message: dict[str, Any], text: str, reasoning: str) -> None:
    answer = read_reply(b"k", reply(message))
    assert (answer.text, answer.reasoning, answer.error) == (text, reasoning, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"null", b"{}", b'{"choices": {}}', b'{"choices": [1]}', b"[" * 100_000,
        reply({"content": [1]}), reply({"content": None}, finish_reason=None),
        reply({"content": "a"}, finish_reason=3), reply({"content": "a", "reasoning": 3}),
        reply({"content": [[[[]]], 3]}),
    ],
)  # fmt: skip
def test_wrong_shapes_are_bad_replies(raw: bytes) -> None:
    with pytest.raises(trouble.BadReply):
        read_reply(b"k", raw)


def test_a_lone_surrogate_in_an_answer_is_the_rows_fault() -> None:
    answer = read_reply(b"k", b'{"choices": [{"message": {"content": "a\\ud83d"}}]}')
    assert answer.error is not None
    assert answer.error.startswith("invalid_utf8: ")


def test_a_wrong_key_names_the_variable_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GPU1_KEY", KEY)
    with served(key="another") as server:
        wrong = engine(server.url, api_key_env="GPU1_KEY")
        for ask in (wrong.check, lambda: answers(wrong, "hello")):
            with pytest.raises(ConfigError, match=r"refused the key in .* GPU1_KEY") as caught:
                ask()
            assert KEY not in str(caught.value)
            assert server.url in str(caught.value)
    assert KEY not in caplog.text
    assert KEY not in repr(wrong)


def test_a_missing_key_is_asked_for_by_name() -> None:
    asks = r"asks for a key: set engine\.api_key_env or engine\.api_key_block"
    with served(key="secret") as server, pytest.raises(ConfigError, match=asks):
        engine(server.url).check()


def test_openais_key_goes_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with served(key=KEY) as server, served(key=KEY) as other:
        with pytest.raises(ConfigError, match="asks for a key: set engine"):
            engine(server.url).check()
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        engine(server.url).check()
        with pytest.raises(ConfigError, match=rf"{other.url}.* asks for a key: set engine"):
            engine([server.url, other.url]).check()


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("https://api.openai.com/v1", True), ("https://eu.api.openai.com/v1", True),
        ("http://api.openai.com/v1", False), ("https://api.openai.com.evil.invalid/v1", False),
        ("https://evilapi.openai.com@evil.invalid/v1", False), ("http://gpu1:8000/v1", False),
        ("https://proxy:8443/openai", True), ("http://proxy:8443/openai", False),
        ("https://proxy/openai", False), ("https://[", False),
    ],
)  # fmt: skip
def test_the_hosts_that_are_sent_openais_key(
    url: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://proxy:8443/v1")
    assert takes_default_key(url) == taken


def test_the_account_is_named_to_the_hosts_of_its_key_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    with served() as server:
        assert answers(engine(server.url), "hello")
        assert not {n for n in server.endpoint.last["headers"] if n.startswith("openai-")}
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert answers(engine([]), "hello")
        assert server.endpoint.last["headers"]["openai-organization"] == "org-1"
        assert server.endpoint.last["headers"]["openai-project"] == "proj-1"


def test_the_right_key_is_sent_from_each_of_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU1_KEY", KEY + "\n")
    with served(key=KEY) as server:
        engine(server.url, api_key_env="GPU1_KEY").check()
        engine(server.url, api_key=KEY).check()
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        (answer,) = answers(engine([]), "hello")
    assert answer.text


def test_a_variable_that_is_not_set_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="model: the environment variable GPU9_KEY"):
        engine("http://127.0.0.1:1/v1", api_key_env="GPU9_KEY")


def test_a_key_that_no_header_can_carry_is_told_without_it() -> None:
    with pytest.raises(ConfigError, match="characters that no key has") as caught:
        engine("http://127.0.0.1:1/v1", api_key="MARKED\nkey")
    assert "MARKED" not in str(caught.value)


@pytest.mark.parametrize("kind", ["400", "500"])
def test_a_server_that_quotes_the_key_is_not_quoted(kind: str) -> None:
    with served() as server:
        asked = engine(server.url, api_key=KEY, max_retries=0)
        (bad,) = answers(asked, f"a [[fault:{kind}]]")
    assert bad.error is not None
    assert "authorization: Bearer ***" in bad.error
    assert KEY not in bad.error


def test_a_servers_words_are_cleaned_and_cut() -> None:
    words = trouble.clean("a\x1b[31m\r\nb\ud83d " + "x" * 150 + KEY + "y" * 99, KEY)
    assert words.startswith("a [31m b")
    assert words.isprintable()
    assert len(words) == 200
    assert "MARKED" not in words


def test_a_model_that_is_not_there_is_named_with_the_nearest() -> None:
    with served(models=("qwen2.5-7b", "gemma")) as server:
        with pytest.raises(ConfigError, match=r"'qwen2.5-7', did you mean 'qwen2.5-7b'\?"):
            engine(server.url, model="qwen2.5-7").check()
        with pytest.raises(ConfigError, match=r"answered 404 to model 'qwen2.5-7'"):
            answers(engine(server.url, model="qwen2.5-7"), "hello")
        engine(server.url, model="gemma").check()


def test_an_endpoint_without_a_list_of_models_passes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="crowdselect")
    with served() as server:
        engine(server.url + "/nowhere").check()
    assert "has no list of models (404)" in caplog.text


@pytest.mark.parametrize("url", ["gpu1:8000/v1", "http://", "ftp://gpu1/v1", "http://gpu1:x/v1"])
def test_what_is_no_url_is_told_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match="is no URL of an endpoint"):
        engine(url)


def test_an_endpoint_that_is_down_is_told_by_the_check() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(ConfigError, match=f"endpoint {url} of model 'model' does not answer"):
        engine(url).check()


def test_a_dead_replica_leaves_its_work_to_the_others() -> None:
    dead = f"http://127.0.0.1:{free_port()}/v1"
    with served() as server:
        got = answers(engine([dead, server.url], max_retries=3), *(f"t {i}" for i in range(100)))
        assert server.endpoint.asked == 100
    assert all(a.text for a in got)


def test_replicas_share_the_work() -> None:
    with served(delay=20) as one, served(delay=20) as other:
        answers(engine([one.url, other.url], concurrency=8), *(f"t {i}" for i in range(100)))
        assert one.endpoint.asked + other.endpoint.asked == 100
        assert min(one.endpoint.asked, other.endpoint.asked) > 10
        assert one.endpoint.most_in_flight <= 8


def test_no_more_are_in_flight_than_configured() -> None:
    with served(delay=500) as server:  # so long that five are sent meanwhile on a busy machine
        answers(engine(server.url, concurrency=5), *(f"t {i}" for i in range(20)))
        assert server.endpoint.most_in_flight == 5


def test_what_done_raises_ends_an_endless_run_that_never_looked_far_ahead() -> None:
    """8 workers hold one request each, and at most 8 more are pulled ahead of them."""
    pulled = itertools.count()
    furthest = Counter[str]()
    here = threading.get_ident()

    def endless() -> Any:
        for i in pulled:
            furthest["pulled"] = i + 1
            yield request(i, f"t {i}")

    def done(_: Answer) -> None:
        assert threading.get_ident() == here
        furthest["done"] += 1
        assert furthest["pulled"] <= furthest["done"] + 8 + 8
        if furthest["done"] == 100:
            raise KeyError("enough")

    with served() as server, pytest.raises(KeyError, match="enough"):
        engine(server.url, concurrency=8).run(endless(), done)
    assert furthest["done"] == 100


def test_what_is_in_flight_is_dropped_when_done_raises() -> None:
    def done(_: Answer) -> None:
        raise KeyError("enough")

    with served() as server, pytest.raises(KeyError, match="enough"):
        answers(engine(server.url), "a", "b [[fault:hang]]", "c [[fault:hang]]", done=done)


def test_a_run_that_is_asked_to_stop_stops_while_answers_hang() -> None:
    with served() as server:
        asked = engine(server.url)
        asked.stopped = lambda: server.endpoint.in_flight > 0
        with pytest.raises(Stopped):
            answers(asked, "a [[fault:hang]]")


def test_an_iterator_may_wait_for_answers_before_it_goes_on() -> None:
    answered = threading.Semaphore(1)

    def careful() -> Any:
        for i in range(10):
            assert answered.acquire(timeout=120)
            yield request(i, f"t {i}")

    got: list[Answer] = []

    def done(answer: Answer) -> None:
        got.append(answer)
        answered.release()

    with served() as server:
        engine(server.url, concurrency=4).run(careful(), done)
    assert len(got) == 10


def test_what_the_iterator_raises_is_raised() -> None:
    def broken() -> Any:
        yield request(0, "t")
        raise LookupError("the table is gone")

    with served() as server, pytest.raises(LookupError, match="the table is gone"):
        engine(server.url).run(broken(), lambda _: None)


def test_a_remote_endpoint_may_ignore_the_seed() -> None:
    assert engine("http://127.0.0.1:8000/v1").limits == ()
    (limit,) = engine("https://far.example/v1").limits
    assert "may ignore seed" in limit
    assert engine("https://far.example/v1", SamplingConfig(seed=None)).limits == ()


def test_an_endpoint_is_named_without_its_query() -> None:
    config = OpenAIEngineConfig(kind="openai", base_url=["http://gpu1/v1?x=1", "http://gpu2/v1"])
    assert endpoint_name(config) == "http://gpu1/v1, http://gpu2/v1"


def test_the_endpoint_as_a_process_logs_dies_and_is_told(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    command = [sys.executable, "-m", "crowdselect_core.testing.faulty_endpoint"]
    process = subprocess.Popen(
        [*command, "--model", "model", "--die-after", "3", "--requests", str(log)],
        stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        asked = engine(url, concurrency=1, max_retries=1)
        asked.check()
        got: list[Answer] = []
        message = Message(role="user", content="hello")
        asked.run(iter([Request(bytes(16), (message,), seed) for seed in range(5)]), got.append)
        assert process.wait(120) == 1
    finally:
        process.kill()
        process.wait()
    assert [a.text is not None for a in got] == [True, True, True, False, False]
    assert got[4].error is not None
    assert got[4].error.startswith(f"connection: {url}: ")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [0, 1, 2]
    assert len({line["prompt"] for line in lines}) == 1


def test_no_proxy_stands_before_an_endpoint_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with served() as server:
        (answer,) = answers(engine(server.url), "hello")
    assert answer.error is None


@pytest.mark.parametrize(
    "keys",
    [
        {"default_headers": {"X-Api-Key": KEY}},
        {"default_headers": {"Authorization": "Bearer x"}},
        {"extra_body": {"provider": {"api_key": KEY}}},
        {"extra_body": {"tools": [{"auth": {"token": KEY}}]}},
    ],
)
def test_credentials_in_an_engine_are_refused_however_deep(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="looks like a credential") as caught:
        OpenAIEngineConfig(kind="openai", **keys)
    assert KEY not in str(caught.value)
