"""The words by which servers say that a refusal lies in the row: a table, read top to bottom.

Sources: the error texts of OpenAI, Azure, vLLM, SGLang, text-generation-inference, llama.cpp,
Ollama, LM Studio, OpenRouter, Anthropic, Gemini, xAI, Mistral, Groq, Cohere, Bedrock, DeepSeek,
DashScope, Moonshot, Zhipu, MiniMax, Volcengine and nginx, as their users reported them.
"""

import re

PROMPT_TOO_LONG, CONTENT_FILTER, TEMPLATE = "prompt_too_long", "content_filter", "template"

_TABLE: dict[str, tuple[str, ...]] = {
    PROMPT_TOO_LONG: (
        r"context_length_exceeded|exceed_context_size|context_window_exceeded|string_above_max",
        r"request_too_large|request (entity|body|size)? ?(is )?too large|payload too large",
        r"maximum context length|model'?s context length|max(imum)? ?model.?len",
        r"context (length|window|size|limit) (exceeded|exceeds)|context length is only",
        r"(exceed\w*|longer than|greater than|larger than|overflows?)"
        r"( \w+){0,4} (context|token limit|model limit)",
        r"context[ _]window",
        r"input token count.{0,40}exceed",  # Gemini
        r"maximum (number of|allowed) (input )?tokens",
        r"maximum prompt length",  # xAI
        r"maximum (input|sequence) length|input length should be|range of input length",
        r"`?inputs`? (must have less than|tokens \+ `?max_new_tokens)",  # TGI
        r"(prompt|input|inputs|message|messages|request|conversation)"
        r"( \w+)? (is|are|was|were) too (long|large)",
        r"prompt too long|length of all messages is too long|too large for model with",
        r"too many (input |prompt )?tokens|token limit exceeded|exceeds the limit of \d+",
        r"tokens? (count |counts )?exceeds? the (configured |model'?s? )?(limit|maximum)",
        r"reduce (the length of|your prompt|the prompt|your input)|\u8d85\u957f",
    ),
    CONTENT_FILTER: (
        r"content[_ -]?(filter|moderation|management|policy|safety)\w*|moderation",
        r"ResponsibleAIPolicyViolation|data_?inspection_?failed|censorship",
        r"content exists risk|high risk|considered unsafe|safety[_ ](system|check|filter|polic)\w*",
        r"inappropriate|sensitive[_ ]?content|contains? sensitive|new_sensitive|sensitive words?",
        r"SensitiveContentDetected|prohibited[_ ]content|usage (policies|policy|guidelines)",
        r"(prompt|input|request|content|message)s?( \w+){0,2}"
        r" (was|were|is|been|are) (flagged|blocked|filtered)",
        r"flagged (for|as)|guardrail|blocked by|"
        r"\u654f\u611f|\u4e0d\u5b89\u5168|\u8fdd\u89c4|\u98ce\u9669",
    ),
    TEMPLATE: (
        r"system (role|messages?|prompts?) (is |are )?(not|un)[ ]?(supported|allowed)",
        r"(does|do) not support( the| a)? ?system|developer instruction is not enabled",
        r"roles? must alternate|only user and assistant roles|unexpected role|unknown role",
        r"system message must be|expected last role|last message must|first message must",
        r"no user query found|(error|exception) in appl\w+ chat template|template ?error",
        r"jinja2?\.exceptions|unsupported role|invalid role",
    ),
}
_ROW = {code: re.compile("|".join(words), re.IGNORECASE) for code, words in _TABLE.items()}
# A single request above a limit of tokens a minute: waiting does not make it smaller.
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)

# What a server's error object says where it comes without a status of its own.
_STATUS: tuple[tuple[str, int], ...] = (
    (r"rate.?limit|too.?many.?requests|throttl", 429),
    (r"insufficient|quota|billing|credit|payment|arrears", 402),
    (r"invalid.?api.?key|authenticat|unauthori[sz]ed", 401),
    (r"permission|forbidden", 403),
    (r"model.?not.?found|not.?found", 404),
    (r"overload|unavailable|capacity", 503),
    (r"bad.?request|invalid|unsupported|validation", 400),
)


def row_fault(status: int, told: str) -> str | None:
    """Return the code of a refusal that lies in the row, None of one that does not.

    Args:
        status: of HTTP, or the one that the error names.
        told: the codes and words of the server's error.
    """
    if status == 429:
        return PROMPT_TOO_LONG if _TOO_LARGE.search(told) else None
    for code, words in _ROW.items():
        if words.search(told):
            return code
    return {413: PROMPT_TOO_LONG, 451: CONTENT_FILTER}.get(status)


def implied_status(told: str) -> int:
    """Return the HTTP status that an error without one stands for; 500 where nothing says."""
    return next((s for words, s in _STATUS if re.search(words, told, re.IGNORECASE)), 500)
