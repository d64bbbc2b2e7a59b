"""What `faulty_endpoint` answers.

An answer is a pure function of model, messages, seed and temperature; a prompt that names the form
of a verdict, as those of judges do, gets one.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from crowdselect_core.testing.annotations import annotation_text

WORDS = (
    "river", "stone", "lamp", "winter", "copper", "garden", "signal", "harbor", "paper", "thread",
    "motor", "violet", "square", "ladder", "meadow", "pocket", "silver", "needle", "canyon",
    "basket", "mirror", "anchor", "pepper", "tunnel", "candle", "orchard", "velvet", "compass",
    "hammer", "island", "kettle", "lantern",
)  # fmt: skip
# Forms of a verdict, by the words of a prompt that ask for them, and the verdicts of each.
FORMS = {
    "My final verdict is": ("[[A>>B]]", "[[label]]"),
    "Rating": ("[[rating]]", "[[number]]"),
    "Verdict": ("[[A]]", "[[letter]]"),
}
VERDICTS = {
    "My final verdict is": ("A>>B", "A>B", "A=B", "B>A", "B>>A"),
    "Rating": tuple(str(n) for n in range(1, 11)),
    "Verdict": ("A", "B", "C"),
}


def answer_text(body: Mapping[str, Any]) -> str:
    """Return the answer to a request: 5 to 40 words drawn by a hash of what decides an answer."""
    told = [body.get(name) for name in ("model", "messages", "seed", "temperature")]
    digest = hashlib.sha256(orjson.dumps(told)).digest()
    bits = digest + hashlib.sha256(digest).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in bits[1 : 6 + digest[0] % 36])


def verdict_text(body: Mapping[str, Any], nonsense_every: int = 0) -> str | None:
    """Return the reply to a prompt that asks for a verdict, a grade or tags; None to any other.

    The verdict is drawn by a hash of the prompt; of `nonsense_every` prompts one, by the same
    hash, gets a reply without a verdict.
    """
    prompt = prompt_of(body)
    form = next((form for form, told in FORMS.items() if any(one in prompt for one in told)), None)
    drawn = int.from_bytes(hashlib.sha256(orjson.dumps(prompt)).digest()[:8], "big")
    annotation = annotation_text(prompt, drawn // 1000, WORDS) if form is None else None
    if form is None and annotation is None:
        return None
    if nonsense_every and drawn % nonsense_every == 0:
        return "The kettle is on the island."
    if form is None:
        return annotation
    chosen = VERDICTS[form][drawn // 1000 % len(VERDICTS[form])]
    return f"Both sides were weighed.\n\n{form}: [[{chosen}]]"


def completion(body: Mapping[str, Any], text: str, finish_reason: str = "stop") -> dict[str, Any]:
    """Return a whole chat completion; the words count as tokens."""
    used = {"prompt_tokens": len(prompt_of(body).split()), "completion_tokens": len(text.split())}
    used["total_tokens"] = sum(used.values())
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": used,
    }


def prompt_of(body: Mapping[str, Any]) -> str:
    """Return the text of all messages."""
    return "\n".join(str(message.get("content")) for message in body["messages"])
