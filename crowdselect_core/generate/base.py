"""What every engine is given and gives back.

One request is one cell: one sample of one model's answer to one prompt. An engine takes requests
lazily, keeps a bounded number of them, and hands answers over in any order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from crowdselect_core.chat import Message

MOST_BYTES = 1_000_000  # of an answer; a longer one is no training data but a runaway model


class Failure(StrEnum):
    """Whose fault a missing answer is."""

    ROW = "row"  # lies in the row (too long, filtered): kept, told, not asked again
    INFRASTRUCTURE = "infrastructure"  # may pass: counts against max_failure_rate, asked again


@dataclass(frozen=True, slots=True)
class Request:
    """One sample of an answer to one prompt."""

    key: bytes  # 16 bytes that name the cell
    messages: tuple[Message, ...]  # the prompt, its system message included
    seed: int | None = None  # of this sample
    temperature: float | None = None  # None: the engine's
    max_tokens: int | None = None  # None: the engine's


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request: a text, or an error and whose fault it is.

    `error` begins with a short code that reasons are counted by: 'prompt_too_long: 5012 tokens
    ...'. With an error there is no text.
    """

    key: bytes
    text: str | None = None  # the final answer, without the thinking
    reasoning: str | None = None  # the thinking, where the model's server tells it apart
    finish_reason: str | None = None  # stop, length, ...; as OpenAI's API names them
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    error: str | None = None
    failure: Failure | None = None
    served_model: str | None = None  # the name that the server reports; a snapshot of an alias


class EngineDown(RuntimeError):
    """The engine can answer nothing more (a server that dies again and again); says why."""


class Engine(Protocol):
    """One model that answers.

    `limits` are said once in the log before a run: what the engine cannot honour (a seed, say).
    `stopped` is asked about once a second while answers are waited for.
    """

    limits: tuple[str, ...]
    stopped: Callable[[], bool]

    def check(self) -> None:
        """Find out within 15 seconds whether the model could answer; nothing is generated.

        Raises:
            UserError: the endpoint is down, the key is wrong, the model is not there.
        """
        ...

    def run(self, requests: Iterator[Request], done: Callable[[Answer], None]) -> None:
        """Answer every request, calling `done` from this thread as answers come.

        What `done` raises ends the run: whatever is in flight is dropped, and it is raised.

        Raises:
            Stopped: `stopped` said so.
            EngineDown: nothing more can be answered.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds: a model, a server."""
        ...


def never() -> bool:
    """Say that nobody has asked to stop."""
    return False


def failed(key: bytes, code: str, why: str, failure: Failure) -> Answer:
    """Return an answer that is an error: a short code, and words for people."""
    return Answer(key, error=f"{code}: {why}"[:500], failure=failure)


def checked(answer: Answer) -> Answer:
    """Return the answer, or an error in its place where its text cannot be trained on.

    A NUL byte, a lone surrogate (invalid UTF-8 that a client let through) or more than MOST_BYTES.
    """
    for text in (answer.text, answer.reasoning):
        if text is None:
            continue
        if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
            why = f"more than {MOST_BYTES:,} bytes; lower max_tokens"
            return failed(answer.key, "answer_too_large", why, Failure.ROW)
        if "\0" in text:
            return failed(answer.key, "nul_byte", "the answer holds a NUL byte", Failure.ROW)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            why = "the answer is no valid UTF-8"
            return failed(answer.key, "invalid_utf8", why, Failure.ROW)
    return answer
