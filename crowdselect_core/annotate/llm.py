"""Rows that are annotated by what an LLM replies, through any engine of `generate`."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping

from crowdselect_core.annotate.base import Annotation
from crowdselect_core.generate.base import Answer, Engine, Request

MOST_RAW = 4_000  # characters of a reply that are kept


def filled(template: str, texts: Mapping[str, str], **values: str) -> str:
    """Return a prompt; no text in it can be taken for a marker or a placeholder.

    Args:
        template: with {name} for every text and value, and {fence} in the lines around a text.
        texts: untrusted texts; the fence is a hash of them.
        values: words of our own.
    """
    told = "".join(f"{len(text)}\n{text}\n" for text in texts.values())
    fence = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    known = {**texts, **values, "fence": fence}
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], found[0]), template)


def ask(
    engine: Engine,
    requests: Iterator[Request],
    read: Callable[[Answer], Annotation],
    done: Callable[[Annotation], None],
) -> None:
    """Send the requests and hand over what is read of each reply.

    Args:
        engine: of the LLM.
        requests: one a row.
        read: from a reply that came to an annotation.
        done: called with every annotation; an error of the engine passes through as that.
    """

    def reply(answer: Answer) -> None:
        if answer.error is not None:
            done(Annotation(answer.key, error=answer.error, failure=answer.failure))
        else:
            done(read(answer))

    engine.run(requests, reply)


def raw(answer: Answer) -> str:
    """Return what is kept of a reply: its start. It is read as a whole."""
    return (answer.text or "")[:MOST_RAW]


def cut(answer: Answer) -> str:
    """Return what to say of an unreadable reply that was cut by the limit of tokens."""
    return "; it was cut, raise sampling.max_tokens" if answer.finish_reason == "length" else ""
