"""The rows of Arena-Hard's files, in its present layout and in the older one."""

from collections.abc import Sequence

from crowdselect_core.evaluate import arena_rows, files


def winners(labels: Sequence[str | None]) -> tuple[str | None, str | None]:
    """Return who won each game: A, B, or C for a tie."""
    known = arena_rows.LABELS | arena_rows.MIRRORED
    by_share = {1.0: "A", 0.5: "C", 0.0: "B"}
    first, second = (None if label is None else by_share[known[label][0]] for label in labels)
    return first, second


def id_of(row: files.Row) -> str:
    """Return the id of a question: `uid`, in the older layout `question_id`."""
    return row.id("uid" if "uid" in row.values else "question_id")


def prompt_of(row: files.Row) -> str:
    """Return the question: `prompt`, or the first of `turns` in the older layout."""
    turns = row.values.get("turns")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        prompt = turns[0].get("content")
        if isinstance(prompt, str) and prompt:
            return prompt
    return row.text("prompt")


def answer_of(row: files.Row) -> str:
    """Return the answer: messages[-1].content.answer, or choices[0].turns[0].content (older)."""
    try:
        if "messages" in row.values:
            content = row.values["messages"][-1]["content"]
            answer = content["answer"] if isinstance(content, dict) else content
        else:
            answer = row.values["choices"][0]["turns"][0]["content"]
    except (KeyError, IndexError, TypeError):
        answer = None
    if not isinstance(answer, str):
        row.fail("has no answer, as Arena-Hard writes one in messages or choices")
    return answer
