"""Thinking is told apart by its tags, and only where they are tags."""

import pytest

from crowdselect_core.util.thinking import split_thinking


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("yes", "yes", None),
        ("<think>\nhm\n</think>\n\nyes", "yes", "hm"),
        ("  <think>hm</think>yes", "yes", "hm"),
        ("<think>cut off", "", "cut off"),
        ("hm\n</think>\n\nyes", "yes", "hm"),
        ("hm</think>yes", "yes", "hm"),
        ("</think>\n\nyes", "yes", ""),
        ("hm</think>", "", "hm"),
        ("a</think>b</think>c", "b</think>c", "a"),
        ("write <think>x</think>", "write <think>x</think>", None),
        ("the tag `</think>` ends it", "the tag `</think>` ends it", None),
        ('use "</think>" to end it', 'use "</think>" to end it', None),
    ],
)
def test_thinking_is_split_at_its_tags(text: str, answer: str, thinking: str | None) -> None:
    assert split_thinking(text) == (answer, thinking)
