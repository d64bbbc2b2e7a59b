"""The judge prompts of MT-Bench: judge_prompts.jsonl of its folder, or ours."""

from typing import Any

from crowdselect_core.evaluate import files
from crowdselect_core.evaluate.judging.prompts import JudgePrompt, own_pair, own_single
from crowdselect_core.ingest.files import DataFile

FILE = "judge_prompts.jsonl"
Kind = tuple[bool, bool]  # two turns, with a reference
KINDS: tuple[Kind, ...] = ((False, False), (True, False), (False, True), (True, True))

# The names that FastChat gives them, and the placeholders that each must have.
SINGLE = {
    (False, False): ("single-v1", ("question", "answer")),
    (True, False): (
        "single-v1-multi-turn", ("question_1", "answer_1", "question_2", "answer_2"),
    ),
    (False, True): ("single-math-v1", ("question", "ref_answer_1", "answer")),
    (True, True): (
        "single-math-v1-multi-turn",
        ("question_1", "ref_answer_1", "question_2", "ref_answer_2", "answer_1", "answer_2"),
    ),
}  # fmt: skip
_PAIRED = ("question_1", "question_2", "answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2")
PAIR = {
    (False, False): ("pair-v2", ("question", "answer_a", "answer_b")),
    (True, False): ("pair-v2-multi-turn", _PAIRED),
    (False, True): ("pair-math-v1", ("question", "ref_answer_1", "answer_a", "answer_b")),
    (True, True): ("pair-math-v1-multi-turn", (*_PAIRED, "ref_answer_1", "ref_answer_2")),
}


def mt_bench_prompts(fs: Any, root: str, shown: str, mode: str) -> dict[Kind, JudgePrompt]:
    """Return the four prompts of a mode, by whether there are two turns and a reference.

    Args:
        fs: the file system of the folder.
        root: the folder.
        shown: the folder as the user wrote it.
        mode: single or pairwise.

    Raises:
        EvaluationError: judge_prompts.jsonl is there and lacks one, or it is of another version.
    """
    path = f"{root}/{FILE}"
    wanted = PAIR if mode == "pairwise" else SINGLE
    if not fs.exists(path):
        own = own_pair if mode == "pairwise" else own_single
        return {kind: own(two_turns=kind[0], reference=kind[1]) for kind in KINDS}
    file = DataFile(fs, path, f"{shown}/{FILE}", fs.info(path))
    found: dict[str, JudgePrompt] = {}
    for row in files.rows(file):
        name = row.text("name")
        system = row.values.get("system_prompt")
        found[name] = JudgePrompt(
            name, system if isinstance(system, str) else "", row.text("prompt_template")
        )
    prompts: dict[Kind, JudgePrompt] = {}
    for kind, (name, placeholders) in wanted.items():
        if name not in found:
            raise files.lacking(file.shown, f"the prompt {name!r}", sorted(found))
        prompts[kind] = found[name].needs(*placeholders)
    return prompts
