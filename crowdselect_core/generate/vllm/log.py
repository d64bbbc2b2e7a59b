"""What a vLLM server's log says about its end. Every line of it is hostile text."""

import re
from pathlib import Path

from crowdselect_core.processes.log_lines import log_lines, quoted

# '(EngineCore pid=12) ERROR 11-23 19:00:00 [core.py:100] '
PREFIX = re.compile(r"^(?:\([^)]{1,80}\) ?)?(?:[A-Z]+ \d\d-\d\d [\d:.]+ \[[^\]]{1,80}\] ?)?")
CAUSE = re.compile(r"\b\w*(?:Error|Exception): |: error: ")
# Said after every cause, and whenever the engine is found dead.
CONSEQUENCES = ("Engine core initialization failed", "EngineDeadError")
REMEDIES = (
    (
        re.compile(r"out of memory|kv cache|KV cache|[Ff]ree memory|[Aa]vailable memory"),
        "lower gpu_memory_utilization, max_model_len or max_num_seqs in engine.args (on a "
        "processor VLLM_CPU_KVCACHE_SPACE in engine.environment), or use more or larger GPUs",
    ),
    (re.compile(r": error: |unrecognized arguments"), "correct engine.args: names are vLLM's own"),
    (
        re.compile(r"trust_remote_code"),
        "read the code of the model's repository, then set engine.trust_remote_code: true",
    ),
)


def cause(lines: list[str]) -> str | None:
    """Return the line that names the cause of an end: the last error that is no consequence."""
    bare = [PREFIX.sub("", line).strip() for line in lines]
    errors = [i for i, line in enumerate(bare) if CAUSE.search(line)]
    own = [i for i in errors if not any(word in bare[i] for word in CONSEQUENCES)]
    if not (own or errors):
        return None
    found = (own or errors)[-1]
    if "ValidationError" in bare[found]:  # pydantic's headline; the reason is below
        for line in bare[found + 1 :]:
            if line.startswith("Value error,"):
                return line
    return bare[found]


def remedy(why: str) -> str | None:
    """Return what to change, where the cause tells."""
    return next((words for pattern, words in REMEDIES if pattern.search(why)), None)


def obituary(log: Path, since: int = 0) -> str:
    """Return the cause, what to change, the log's place and its last lines."""
    lines = log_lines(log, since)
    why = cause(lines)
    told = why or "the log names no error"
    if why is not None and (change := remedy(why)):
        told += f"; {change}"
    return f"{told}\n{quoted(log, lines)}"
