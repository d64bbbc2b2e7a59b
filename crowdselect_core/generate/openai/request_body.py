"""The body of a chat completion's request, in OpenAI's names and vLLM's."""

from collections.abc import Mapping
from typing import Any

import orjson

from crowdselect_core.config.engine import OpenAIEngineConfig, SamplingConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Request

NOT_YOURS = ("messages", "stream", "n")  # keys that extra_body cannot set
# Sent only where they differ from what a server does without them.
UNSENT = {
    "stop": [], "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "top_k": None, "min_p": None, "repetition_penalty": 1.0,
}  # fmt: skip


def fixed_body(
    name: str,
    model: str,
    config: OpenAIEngineConfig,
    sampling: SamplingConfig,
    chat_template_kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what every request to a model has; extra_body wins, and a null of it unsets a key.

    Raises:
        ConfigError: extra_body sets what is ours to set, or is no JSON.
    """
    body: dict[str, Any] = {
        "model": model,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    given = {key: getattr(sampling, key) for key in UNSENT}
    body |= {key: value for key, value in given.items() if value != UNSENT[key]}
    if chat_template_kwargs:
        body["chat_template_kwargs"] = dict(chat_template_kwargs)
    if taken := [key for key in NOT_YOURS if key in config.extra_body]:
        raise ConfigError(
            f"{name}: extra_body cannot set {', '.join(taken)}: requests are made here, one answer "
            "each and not streamed (sampling.n says how many answers)"
        )
    body |= config.extra_body
    try:
        orjson.dumps(body)
    except TypeError as error:
        raise ConfigError(
            f"{name}: extra_body or chat_template_kwargs is no JSON: {error}"
        ) from None
    return body


def encoded(fixed: Mapping[str, Any], request: Request, extra_body: Mapping[str, Any]) -> bytes:
    """Return the body of one request as JSON; what extra_body sets or unsets, no request changes.

    Raises:
        TypeError: the prompt is no valid UTF-8.
    """
    own = {"seed": request.seed} if request.seed is not None else {}
    body = {"messages": request.messages, **own, **fixed}
    for name in ("temperature", "max_tokens"):
        if (value := getattr(request, name)) is not None and name not in extra_body:
            body[name] = value
    return orjson.dumps({key: value for key, value in body.items() if value is not None})
