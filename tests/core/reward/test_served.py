"""The client of a vLLM pooling server, against a server that answers by vLLM's protocol.

The replies are those of vLLM 0.32's /classify; how the client gets on with vLLM itself is tested
where such a server is started.
"""

import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from small_classifier import item, pair_ids, scored, write_random
from tinymodel import smollm_tokenizer

from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.config.reward import ClassifierReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Failure
from crowdselect_core.reward.classifier.vllm_client import ServedScorer

pytestmark = pytest.mark.model

Reply = tuple[int, Any]


def raw(ids: list[int]) -> float:
    return len(ids) / 4 - 20


@dataclass
class Server:
    """Answers each request with what `answer` makes of its body."""

    url: str
    answer: Callable[[dict[str, Any]], Reply]
    bodies: list[dict[str, Any]] = field(default_factory=list)


def classify(body: dict[str, Any]) -> Reply:
    """Reply as vLLM does: the sigmoid unless use_activation is false."""
    numbers = [raw(ids) for ids in body["input"]]
    if body["use_activation"]:
        numbers = [1 / (1 + math.exp(-number)) for number in numbers]
    data = [
        {"index": i, "label": "LABEL_0", "probs": [number], "num_classes": 1}
        for i, number in enumerate(numbers)
    ]
    return 200, {"object": "list", "data": data[::-1]}


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server("", classify)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            one.bodies.append(body)
            status, reply = one.answer(body) if self.path == "/classify" else (404, {})
            words = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(words)))
            self.end_headers()
            self.wfile.write(words)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        one.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield one
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("served"))


@pytest.fixture
def scorer(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> ServedScorer:
    monkeypatch.setattr("crowdselect_core.reward.classifier.vllm_request.FIRST_WAIT", 0.01)
    return ServedScorer(config(folder), server.url + "/v1")


def config(folder: Path, **keys: Any) -> ClassifierReward:
    return ClassifierReward(
        kind="classifier", name="rm", model=str(folder), max_length=60,
        engine=VllmEngineConfig(kind="vllm"), **keys,
    )  # fmt: skip


def test_raw_scores_of_cut_token_ids(scorer: ServedScorer, server: Server) -> None:
    scorer.check()
    texts = [f"{'It rises. ' * (i % 30)}So {i}." for i in range(100)]
    items = [item(text, i) for i, text in enumerate(texts)]
    tokenizer = smollm_tokenizer()
    rows = [pair_ids(tokenizer, "What is bread?", text) for text in texts]
    got = scored(scorer, items)
    # Where the cut leaves the pad token (here EOS) last, the score is read before it.
    read = [ids[:59] if ids[59:60] == [tokenizer.pad_token_id] else ids[:60] for ids in rows]
    assert [score.scores for score in got] == [(raw(ids),) for ids in read]
    assert [score.truncated for score in got] == [len(ids) > 60 for ids in rows]
    assert any(score.truncated for score in got)
    assert not all(score.truncated for score in got)
    assert len(server.bodies) < 20  # many pairs a request


def test_a_server_that_always_presses_scores_is_refused(
    scorer: ServedScorer, server: Server
) -> None:
    server.answer = lambda body: classify({**body, "use_activation": True})
    with pytest.raises(ConfigError, match=r"expected raw scores.*use_activation"):
        scorer.check()


def test_what_may_pass_is_asked_again(scorer: ServedScorer, server: Server) -> None:
    busy = iter([503, 429, 500])
    server.answer = lambda body: next(((s, {}) for s in busy), None) or classify(body)
    assert scored(scorer, [item("No.")])[0].error is None
    assert len(server.bodies) == 4


def test_what_does_not_pass_is_an_infrastructure_failure(
    scorer: ServedScorer, server: Server
) -> None:
    server.answer = lambda body: (500, {"error": {"message": "EngineCore encountered an issue"}})
    score = scored(scorer, [item("No.")])[0]
    assert score.failure is Failure.INFRASTRUCTURE
    assert str(score.error).startswith("server: ")
    assert "EngineCore" in str(score.error)


def test_one_bad_pair_does_not_take_its_request_along(scorer: ServedScorer, server: Server) -> None:
    items = [item(f"Answer {'x ' * i}", i) for i in range(7)]
    bad = pair_ids(smollm_tokenizer(), "What is bread?", items[4].text)
    server.answer = lambda body: (
        (400, {"error": {"message": "too long"}}) if bad in body["input"] else classify(body)
    )
    got = scored(scorer, items)
    assert [score.failure for score in got] == [None] * 4 + [Failure.ROW] + [None] * 2
    assert str(got[4].error).startswith("rejected: ")


def test_a_refused_pair_is_its_own_fault_where_others_are_scored(
    scorer: ServedScorer, server: Server
) -> None:
    items = [item(f"Answer {'x ' * i}", i) for i in range(20)]
    bad = pair_ids(smollm_tokenizer(), "What is bread?", items[4].text)
    flagged = (403, {"error": {"message": "the input was flagged for: violence"}})
    server.answer = lambda body: flagged if bad in body["input"] else classify(body)
    got = scored(scorer, items)
    assert [score.failure for score in got] == [None] * 4 + [Failure.ROW] + [None] * 15
    assert "403 the input was flagged for: violence" in str(got[4].error)


def test_a_length_is_told_in_the_servers_words(scorer: ServedScorer, server: Server) -> None:
    server.answer = lambda body: (413, "Request Entity Too Large")
    score = scored(scorer, [item("No.")])[0]
    assert score.failure is Failure.ROW
    assert "prompt_too_long: 413 Request Entity Too Large" in str(score.error)


def test_null_is_no_score(scorer: ServedScorer, server: Server) -> None:
    server.answer = lambda body: (200, {"data": [{"index": 0, "probs": [None]}]})
    score = scored(scorer, [item("No.")])[0]
    assert (score.scores, score.failure) == ((), Failure.ROW)
    assert str(score.error).startswith("not_finite: ")


@pytest.mark.parametrize(
    "reply",
    [
        (200, {"data": [{"index": 0, "probs": [0.1, 0.9]}]}),
        (200, {"data": []}),
        (200, ["?"]),
        (401, {"error": "Unauthorized"}),
        (404, {"detail": "Not Found"}),
    ],
)
def test_another_kind_of_server_is_refused(
    scorer: ServedScorer, server: Server, reply: Reply
) -> None:
    server.answer = lambda body: reply
    with pytest.raises(ConfigError, match="expected"):
        scored(scorer, [item("No.")])


def test_what_done_raises_ends_the_run(scorer: ServedScorer) -> None:
    def stop(_: Any) -> None:
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        scorer.run(iter([item("No.", i) for i in range(200)]), stop)


def test_nothing_there_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"connection: .*--runner pooling"):
        ServedScorer(config(folder), "http://127.0.0.1:9").check()
