"""Refusals as gateways word them: which lie in the row, which may pass, which are the endpoint's.

The bodies are those that users of the gateways reported.
"""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest

from crowdselect_core.generate.base import Failure
from crowdselect_core.generate.openai.trouble import Trouble, clean, trouble_of, trouble_of_reply

KEY = "sk-MARKEDkey-0123456789"
LONG, FILTER, ROLE = "prompt_too_long", "content_filter", "template"


def openai_error(message: str, **keys: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, **keys}}


def trouble(status: int, body: Any, headers: dict[str, str] | None = None) -> Trouble:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return trouble_of_reply(status, headers or {}, raw, KEY)


NGINX = (
    "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n<center>"
    "<h1>413 Request Entity Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n</body></html>"
)
IN_THE_ROW = {
    "openai": (400, openai_error("This model's maximum context length is 8192 tokens. However, "
               "your messages resulted in 8545 tokens.", code="context_length_exceeded"), LONG),
    "openai new": (400, openai_error("Your input exceeds the context window of this model."), LONG),
    "vllm": (400, {"object": "error", "type": "BadRequestError", "code": 400, "message":
             "The decoder prompt (length 2000) is longer than the maximum model length of 1024."},
             LONG),
    "sglang": (400, {"object": "error", "message": "The input (5000 tokens) is longer than the "
               "model's context length (4096 tokens).", "code": 400}, LONG),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available "
                  "context size, try increasing it", "type": "exceed_context_size_error"}}, LONG),
    "llama.cpp 500": (500, {"error": {"code": 500, "message": "the request exceeds the available "
                      "context size", "type": "server_error"}}, LONG),
    "tgi": (422, {"error": "Input validation error: `inputs` must have less than 1024 tokens. "
            "Given: 1168", "error_type": "validation"}, LONG),
    "tgi sum": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be "
                "<= 2048. Given: 1244 `inputs` tokens and 1000 `max_new_tokens`"}, LONG),
    "gemini": (400, [{"error": {"code": 400, "message": "The input token count (1200293) exceeds "
               "the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}],
               LONG),
    "gemini 2.5": (400, {"error": {"code": 400, "message": "The input token count exceeds the "
                   "maximum number of tokens allowed (1048576)."}}, LONG),
    "xai": (400, {"code": "Client specified an invalid argument", "error": "This model's maximum "
            "prompt length is 131072 but the request contains 136973 tokens."}, LONG),
    "nginx": (413, NGINX, LONG),
    "anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error", "message":
                  "prompt is too long: 213462 tokens > 200000 maximum"}}, LONG),
    "mistral": (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft "
                "tokens, too large for model with 32768 maximum context length"}, LONG),
    "perplexity": (400, openai_error("The total length of all messages is too long."), LONG),
    "azure length": (400, openai_error("Input tokens exceed the configured limit of 272000 tokens. "
                     "Your messages resulted in 509178 tokens."), LONG),
    "groq": (413, openai_error("Request too large for model `x` on tokens per minute (TPM): Limit "
             "6000, Requested 8000"), LONG),
    "moonshot": (400, openai_error("Invalid request: Your request exceeded model token limit: "
                 "8192"), LONG),
    "dashscope length": (400, openai_error("Range of input length should be [1, 30720]"), LONG),
    "litellm": (400, {"error": {"message": "litellm.ContextWindowExceededError: too many tokens",
                "type": None, "param": None, "code": "400"}}, LONG),
    "openrouter": (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {
                   "raw": '{"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}',
                   "provider_name": "X"}}}, LONG),
    "dashscope": (400, {"error": {"code": "data_inspection_failed", "param": None, "message":
                  "Input data may contain inappropriate content.",
                  "type": "data_inspection_failed"}, "id": "chatcmpl-1"}, FILTER),
    "dashscope new": (400, openai_error("<400> InternalError.Algo.DataInspectionFailed: Input text "
                      "data may contain inappropriate content."), FILTER),
    "deepseek": (400, openai_error("Content Exists Risk", code="invalid_request_error"), FILTER),
    "deepseek detail": (400, {"detail": "Content Exists Risk"}, FILTER),
    "azure": (400, {"error": {"message": "The response was filtered due to the prompt triggering "
              "Azure OpenAI's content management policy.", "type": None, "param": "prompt",
              "code": "content_filter", "status": 400, "innererror": {
              "code": "ResponsibleAIPolicyViolation"}}}, FILTER),
    "openai prompt": (400, openai_error("Invalid prompt: your prompt was flagged as potentially "
                      "violating our usage policy.", code="invalid_prompt"), FILTER),
    "kimi": (400, openai_error("The request was rejected because it was considered high risk",
             type="content_filter"), FILTER),
    "zhipu": (400, {"error": {"code": "1301", "message": "\u7cfb\u7edf\u68c0\u6d4b\u5230"
              "\u8f93\u5165\u6216\u751f\u6210\u5185\u5bb9\u53ef\u80fd\u5305\u542b\u4e0d\u5b89\u5168\u6216"
              "\u654f\u611f\u5185\u5bb9"}}, FILTER),
    "volcengine": (400, {"error": {"code": "InputTextSensitiveContentDetected", "message": "The "
                   "request failed because the input text may contain sensitive information."}},
                   FILTER),
    "stepfun": (451, {"error": {"message": "The content you provided is blocked",
                "type": "censorship_blocked"}}, FILTER),
    "legal reasons": (451, "", FILTER),
    "gemma": (400, {"object": "error", "message": "System role not supported",
              "type": "BadRequestError", "param": None, "code": 400}, ROLE),
    "gemma google": (400, [{"error": {"code": 400, "message": "Developer instruction is not "
                     "enabled for models/gemma-3-27b-it", "status": "INVALID_ARGUMENT"}}], ROLE),
    "mistral roles": (400, {"object": "error", "message": "After the optional system message, "
                      "conversation roles must alternate user/assistant/user/assistant/..."}, ROLE),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_THE_ROW)
def test_a_refusal_that_lies_in_the_row_keeps_the_servers_words(name: str) -> None:
    status, body, code = IN_THE_ROW[name]
    found = trouble(status, body)
    assert (found.code, found.failure, found.again) == (code, Failure.ROW, False)
    assert found.words.startswith(str(status))
    assert "<" not in found.words.replace("<=", "").replace("<400>", "")


OUTSIDE = {
    "a parameter": (400, openai_error("Unsupported parameter: 'max_tokens' is not supported with "
                    "this model. Use 'max_completion_tokens' instead."), "bad_request", False),
    "max_tokens": (400, openai_error("max_tokens is too large: 100000. This model supports at most "
                   "4096 completion tokens."), "bad_request", False),
    "a prompt is repeated": (422, {"detail": [{"type": "extra_forbidden", "msg": "Extra inputs are "
                             "not permitted", "loc": ["body", "x"],
                             "input": "explain the maximum context length"}]}, "bad_request",
                             False),
    "credit": (402, openai_error("Insufficient credits"), "http_error", False),
    "rate": (429, openai_error("Rate limit reached on tokens per minute. Please reduce the length "
             "of your messages."), "rate_limited", True),
    "overload": (529, {"type": "error", "error": {"type": "overloaded_error"}}, "server_error",
                 True),
    "gateway": (502, "<html><title>502 Bad Gateway</title></html>", "server_error", True),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_refusal_outside_the_row_is_no_rows_fault(name: str) -> None:
    status, body, code, again = OUTSIDE[name]
    found = trouble(status, body)
    assert (found.code, found.failure, found.again) == (code, Failure.INFRASTRUCTURE, again)
    assert not found.is_set_aside


def test_401_403_and_404_are_set_aside_and_a_401_is_never_quoted() -> None:
    flagged = openai_error("flagged for: violence", code=403, metadata={"reasons": ["violence"]})
    found = [trouble(s, flagged) for s in (401, 403, 404)]
    assert all(one.is_set_aside and not one.again for one in found)
    assert [one.of_row().failure for one in found] == [
        Failure.INFRASTRUCTURE, Failure.ROW, Failure.ROW,
    ]  # fmt: skip
    assert "violence" not in found[0].words
    assert "flagged for: violence" in found[1].words
    assert [one.code for one in found] == ["http_error", "content_filter", "not_found"]
    assert trouble(403, "<title>403 Forbidden</title>").code == "forbidden"


@pytest.mark.parametrize(
    "words",
    [
        f"invalid token {KEY}", f"Authorization: Bearer {KEY[:12]}", "key sk-abcdefgh1234 is wrong",
        "cannot reach http://me:secret9@host/v1", "authorization: Basic c2VjcmV0OTk5",
    ],
)  # fmt: skip
def test_no_credential_is_repeated(words: str) -> None:
    shown = clean(words, KEY)
    assert "***" in shown
    for secret in (KEY[:12], "abcdefgh1234", "secret9", "c2VjcmV0OTk5"):
        assert secret not in shown


def test_network_errors_tell_an_endpoint_that_was_not_reached() -> None:
    late = trouble_of(aiohttp.ConnectionTimeoutError(), None)
    assert (late.code, late.unreached, late.words) == ("connection", True, "ConnectionTimeoutError")
    cut = trouble_of(aiohttp.ServerDisconnectedError(), None)
    assert (cut.code, cut.unreached, cut.again) == ("connection", False, True)
    assert trouble_of(TimeoutError(), None).code == "timeout"
    with pytest.raises(KeyError):
        trouble_of(KeyError("x"), None)


def test_the_wait_that_a_server_asks_for_is_kept() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert trouble(429, "", {"Retry-After": "7"}).wait == 7.0
    assert 0 < (trouble(503, "", {"retry-after": date}).wait or 0) <= 60
    assert trouble(429, "", {"Retry-After": "1h30m"}).wait is None
