"""Why a generation ended, in OpenAI's words, whatever server or data set says it.

Servers have words of their own for the same five endings: OpenAI, vLLM, SGLang, TGI, Anthropic,
Gemini, Cohere, Mistral, DeepSeek, GLM, Bedrock. A word is compared without case, underscores,
blanks and hyphens, without the name of an enum before it and details behind a colon.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import polars as pl

STOP, LENGTH, TOOL_CALLS, FILTERED, ERROR = (
    "stop", "length", "tool_calls", "content_filter", "error",
)  # fmt: skip
LONGEST = 40  # characters that are repeated of a word that nobody knows


class Ending(StrEnum):
    """What an ending means for the text before it."""

    COMPLETE = "complete"  # the model ended it, or nobody says how it ended
    CUT = "cut"  # a limit of tokens ended it
    FILTERED = "filtered"  # the server withheld it, whole or in part
    FAILED = "failed"  # the server broke off: no answer, worth asking again
    UNKNOWN = "unknown"  # a word that nobody knows: counted and shown


@dataclass(frozen=True, slots=True)
class FinishReason:
    """How a generation ended: OpenAI's name for it, and what that means."""

    name: str | None  # stop, length, ...; the word itself where it is unknown; None where none is
    ending: Ending

    @property
    def is_cut(self) -> bool:
        """Whether a limit of tokens ended the text."""
        return self.ending is Ending.CUT

    @property
    def is_answer(self) -> bool:
        """Whether the text is what the model answered, if perhaps cut."""
        return self.ending not in (Ending.FILTERED, Ending.FAILED)


_WORDS: dict[str, tuple[Ending, str]] = {
    STOP: (
        Ending.COMPLETE,
        "stop eos eos_token stop_sequence stop_token stop_word end end_turn end_of_text complete "
        "completed finished done success",
    ),
    TOOL_CALLS: (Ending.COMPLETE, "tool_calls tool_call tool_use function_call function_calls"),
    LENGTH: (
        Ending.CUT,
        "length max_tokens max_token max_output_tokens max_completion_tokens max_new_tokens "
        "max_length max_output_reached model_length model_context_window_exceeded context_length "
        "context_length_exceeded context_window_exceeded token_limit token_limit_reached "
        "length_limit limit error_limit time_limit incomplete truncated pause_turn",
    ),
    FILTERED: (
        Ending.FILTERED,
        "content_filter content_filtered content_filter_error contentfilter safety recitation "
        "blocklist blocked prohibited_content spii sensitive guardrail_intervened error_toxic "
        "moderation refusal refused data_inspection_failed",
    ),
    ERROR: (
        Ending.FAILED,
        "error errored server_error internal_error engine_error model_error network_error abort "
        "aborted cancel canceled cancelled user_cancel failed failure timeout timed_out "
        "interrupted preempted insufficient_system_resource insufficient_system_resources "
        "overloaded",
    ),
}
_BY_WORD = {
    word.replace("_", ""): FinishReason(name, ending)
    for name, (ending, words) in _WORDS.items()
    for word in words.split()
}
_NONE = frozenset(("", "null", "none", "nan"))
_NO_REASON = FinishReason(None, Ending.COMPLETE)
_ENUM = re.compile(r"^(?:.*\.)?(?:(?:finish|stop|done)reason)?")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")


@lru_cache(maxsize=4096)
def normalise_finish_reason(raw: str | None) -> FinishReason:
    """Return the ending that a server's or a data set's word means.

    Args:
        raw: the word, e.g. `MAX_TOKENS`; None where there is none.
    """
    word = _ENUM.sub("", re.sub(r"[\s_-]+", "", raw or "").lower())
    if word in _NONE:
        return _NO_REASON
    found = _BY_WORD.get(word) or _BY_WORD.get(word.partition(":")[0])
    unknown = _UNPRINTABLE.sub("?", (raw or "").strip())[:LONGEST]
    return found or FinishReason(unknown, Ending.UNKNOWN)


def normalised_column(column: pl.Series) -> pl.Series:
    """Return a column of such words in OpenAI's names, see `FinishReason.name`."""
    words = column.cast(pl.String).unique().drop_nulls().to_list()
    names = [normalise_finish_reason(word).name for word in words]
    mapped = column.cast(pl.String).replace_strict(
        pl.Series(words, dtype=pl.String), pl.Series(names, dtype=pl.String),
        default=None, return_dtype=pl.String,
    )  # fmt: skip
    return mapped.alias(column.name)
