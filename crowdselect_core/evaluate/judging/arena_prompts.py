"""The judge prompt of Arena-Hard: judge.json or the config of its folder, or ours."""

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from crowdselect_core.errors import EvaluationError, first_line
from crowdselect_core.evaluate.judging.prompts import JudgePrompt, own_arena
from crowdselect_core.evaluate.judging.verdicts import LABEL_PATTERNS
from crowdselect_core.ingest.files import DataFile

# In this order; the second is v0.1's own name of it, the others are v2's.
FILES = ("judge.json", "judge_config.yaml", "arena-hard-v0.1.yaml", "arena-hard-v2.0.yaml")
UPPER = ("QUESTION", "ANSWER_A", "ANSWER_B")
NUMBERED = ("question_1", "answer_1", "answer_2")  # v0.1's own names of the same
MOST_PATTERN = 200  # characters of a pattern


@dataclass(frozen=True)
class ArenaPrompt:
    """The prompt, and how a label is found in the reply.

    Args:
        by_category: prompts by category; None: of all others.
        patterns: of a label, the first that matches counts.
    """

    by_category: dict[str | None, JudgePrompt]
    patterns: tuple[re.Pattern[str], ...]

    def of(self, category: str | None) -> JudgePrompt:
        """Return the prompt of a category."""
        found = self.by_category.get(category) or self.by_category.get(None)
        if found is None:
            raise EvaluationError(f"the judge's system_prompt has none for category {category!r}")
        return found


def arena_prompt(fs: Any, root: str, shown: str) -> ArenaPrompt:
    """Return the prompt of a folder.

    Raises:
        EvaluationError: its file cannot be read, lacks a key, or has other placeholders.
    """
    name = next((name for name in FILES if fs.exists(f"{root}/{name}")), None)
    if name is None:
        return ArenaPrompt({None: own_arena()}, tuple(map(re.compile, LABEL_PATTERNS)))
    where = f"{shown}/{name}"
    told = _read(fs, f"{root}/{name}", where)
    template = told.get("prompt_template")
    if isinstance(template, list) and len(template) == 1:
        template = template[0]
    system = told.get("system_prompt")
    if not isinstance(template, str) or not isinstance(system, str | dict):
        lacks = "prompt_template" if not isinstance(template, str) else "system_prompt"
        raise EvaluationError(
            f"{where}: has no {lacks}, expected a text (of system_prompt also a mapping of "
            "categories to texts; v2 keeps it in its code)"
        )
    systems = system if isinstance(system, dict) else {None: system}
    names = UPPER if "{QUESTION}" in template else NUMBERED
    prompts: dict[str | None, JudgePrompt] = {}
    for category, text in systems.items():
        if not isinstance(text, str):
            raise EvaluationError(f"{where}: system_prompt of {str(category)[:40]!r} is no text")
        prompts[category] = JudgePrompt(name, text, template).needs(*names)
    return ArenaPrompt(prompts, _patterns(told, where))


def values(prompt: JudgePrompt, question: str, answer_a: str, answer_b: str) -> dict[str, str]:
    """Return what the placeholders of the prompt stand for."""
    names = UPPER if "{QUESTION}" in prompt.template else NUMBERED
    return dict(zip(names, (question, answer_a, answer_b), strict=True))


def _read(fs: Any, path: str, where: str) -> dict[str, Any]:
    data = b"".join(DataFile(fs, path, where, fs.info(path)).blocks())
    try:
        told = json.loads(data) if path.endswith(".json") else yaml.safe_load(data)
    except (ValueError, RecursionError, yaml.YAMLError) as e:
        raise EvaluationError(f"{where}: cannot be read: {first_line(e, 80)}") from None
    if not isinstance(told, dict):
        raise EvaluationError(f"{where}: expected a mapping with the judge's prompt_template")
    return told


def _patterns(told: dict[str, Any], where: str) -> tuple[re.Pattern[str], ...]:
    given = told.get("regex_patterns") or told.get("regex_pattern") or list(LABEL_PATTERNS)
    texts = [given] if isinstance(given, str) else given
    try:
        if not all(isinstance(t, str) and len(t) <= MOST_PATTERN for t in texts):
            raise TypeError
        patterns = tuple(re.compile(text) for text in texts)
    except (re.error, TypeError):
        patterns = ()
    if not patterns or any(pattern.groups != 1 for pattern in patterns):
        raise EvaluationError(f"{where}: regex_patterns: expected patterns with one group each")
    return patterns
