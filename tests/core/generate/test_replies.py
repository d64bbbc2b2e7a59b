"""What a chat completion becomes: cut, failed, withheld, thinking apart, usage that is no count."""

import json
from typing import Any

import pytest

from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.openai.response import read_reply
from crowdselect_core.generate.openai.trouble import ReplyError, trouble_of


def reply(finish: Any = "stop", message: Any = "fine", choice: Any = None, **more: Any) -> bytes:
    message = message if isinstance(message, dict) else {"content": message}
    one = {"index": 0, "message": message, "finish_reason": finish} | (choice or {})
    return json.dumps({"choices": [one], **more}).encode()


@pytest.mark.parametrize("said", ["MAX_TOKENS", "max_tokens", "LENGTH", "max_output_tokens"])
def test_a_cut_answer_is_cut_in_anybodys_words(said: str) -> None:
    assert read_reply(b"k", reply(said)).finish_reason == "length"


@pytest.mark.parametrize(
    ("raw", "words", "status"),
    [
        (reply("error"), "finish_reason error", None),
        (reply("abort"), "finish_reason abort", None),
        (reply("insufficient_system_resource"), "insufficient_system_resource", None),
        (
            reply("stop", choice={"error": {"code": 502, "message": "Provider gone"}}),
            "Provider",
            502,
        ),
        (b'{"error": {"code": 503, "message": "busy"}, "choices": []}', "busy", 503),
        (b'{"error": "rate limit reached"}', "rate limit reached", None),
        (b'[{"error": {"message": "Internal", "status": "INTERNAL"}}]', "Internal", None),
    ],
)
def test_a_failed_answer_is_none_and_asked_again(raw: bytes, words: str, status: int) -> None:
    with pytest.raises(ReplyError) as caught:
        read_reply(b"k", raw)
    assert caught.value.error.status == status
    found = trouble_of(caught.value, None)
    assert words in found.words
    assert found.again
    assert found.failure is Failure.INFRASTRUCTURE


def test_an_error_with_status_200_is_that_error() -> None:
    raw = {"error": {"message": "Insufficient credits for upstream provider", "code": 402}}
    with pytest.raises(ReplyError) as caught:
        read_reply(b"k", json.dumps(raw).encode())
    found = trouble_of(caught.value, None)
    assert (found.code, found.again, found.status) == ("http_error", False, 402)
    assert found.words == "402 Insufficient credits for upstream provider"


@pytest.mark.parametrize(
    "raw",
    [
        {"error": {"message": "Content Exists Risk", "type": "invalid_request_error"}},
        {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}},
    ],
)
def test_a_filter_with_status_200_lies_in_the_row(raw: dict[str, Any]) -> None:
    with pytest.raises(ReplyError) as caught:
        read_reply(b"k", json.dumps(raw).encode())
    found = trouble_of(caught.value, None)
    assert (found.code, found.failure) == ("content_filter", Failure.ROW)


@pytest.mark.parametrize("said", ["content_filter", "SAFETY", "sensitive"])
def test_a_withheld_answer_lies_in_the_row(said: str) -> None:
    answer = read_reply(b"k", reply(said))
    assert (answer.text, answer.failure) == (None, Failure.ROW)
    assert str(answer.error).startswith("content_filter: ")


def test_an_unknown_ending_keeps_its_name() -> None:
    assert read_reply(b"k", reply("dreamt")).finish_reason == "dreamt"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 7}, (5, 7)),
        ({"prompt_tokens": 5.0, "completion_tokens": "many"}, (None, None)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (None, None)),
        (None, (None, None)),
        (3, (None, None)),
        ([], (None, None)),
    ],
)
def test_usage_that_is_no_count_is_null(usage: Any, tokens: tuple[int | None, int | None]) -> None:
    answer = read_reply(b"k", reply(usage=usage))
    assert (answer.text, answer.error) == ("fine", None)
    assert (answer.prompt_tokens, answer.completion_tokens) == tokens


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        (["a", "b"], "ab", None),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", None),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
          {"type": "text", "text": "yes"}], "yes", "hm"),
        ([{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "yes"}],
         "yes", "hm"),
        ([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "a"}],
         "a", None),
        ({"type": "text", "text": "a"}, "a", None),
        ([], "", None),
        ([{"type": "text", "text": "hm</think>yes"}], "yes", "hm"),
    ],
)  # fmt: skip
def test_content_parts_are_joined_and_thinking_is_apart(
    content: Any, text: str, reasoning: str | None
) -> None:
    answer = read_reply(b"k", reply(message={"content": content}))
    assert (answer.text, answer.reasoning) == (text, reasoning)
