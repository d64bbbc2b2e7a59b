"""What the endpoint for tests replies where a prompt asks for a grade, or for tags."""

import json
from collections.abc import Sequence

ALONE = "alone on the first line"
JSON_LIST = "Reply with a JSON list"


def annotation_text(prompt: str, drawn: int, words: Sequence[str]) -> str | None:
    """Return a grade or a list of tags, drawn by a number; None to any other prompt."""
    if JSON_LIST in prompt:
        tags = {words[(drawn >> shift) % 8] for shift in range(0, 3 * (1 + drawn % 3), 3)}
        return json.dumps([{"tag": tag, "explanation": "drawn"} for tag in sorted(tags)])
    if ALONE in prompt:
        least, most = (1, 6) if "from 1 " in prompt else (0, 5)
        return f"{least + drawn % (most - least + 1)}\nThat is what it is worth."
    return None
