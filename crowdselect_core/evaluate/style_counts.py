"""Tokens and Markdown of an answer, as Arena-Hard's style control counts them.

The official scripts count tokens by a tokenizer that has to be downloaded; here they are estimated
as UTF-8 bytes / 4, for every answer of a comparison alike, since only their ratio counts. Code
blocks do not count as Markdown.
"""

import re
from typing import Any

CODE = re.compile(r"```[^`]*```")
HEADER = re.compile(r"^(#{1,6})\s", re.MULTILINE)
ORDERED = re.compile(r"^[^\S\n]*\d+\.\s", re.MULTILINE)
UNORDERED = re.compile(r"^[^\S\n]*[-*+]\s", re.MULTILINE)
BOLD_STAR = re.compile(r"\*\*[^*\n]+\*\*")
BOLD_UNDER = re.compile(r"__[^_\n]+__")


def style_counts(answer: str) -> dict[str, Any]:
    """Return the `metadata` of an answer."""
    plain = CODE.sub("", answer)
    headers = [len(found) for found in HEADER.findall(plain)]
    return {
        "token_len": -(-len(answer.encode("utf-8", "surrogatepass")) // 4),
        "header_count": {f"h{level}": headers.count(level) for level in range(1, 7)},
        "list_count": {
            "ordered": len(ORDERED.findall(plain)),
            "unordered": len(UNORDERED.findall(plain)),
        },
        "bold_count": {
            "**": len(BOLD_STAR.findall(plain)),
            "__": len(BOLD_UNDER.findall(plain)),
        },
    }
