"""How an optional part of CrowdSelect is installed, for messages."""

from typing import Literal

Extra = Literal["models", "hub", "vllm", "finetune", "lm-eval", "quality", "ray"]


def install(extra: Extra) -> str:
    """Return what to do about an extra that is missing: it is installed from CrowdSelect's folder.

    No registry has the package, so its name alone installs nothing.
    """
    pinned = "" if extra == "vllm" else "-c constraints.txt "  # vLLM has pins of its own
    return f"run .venv/bin/pip install {pinned}-e '.[{extra}]' in the folder of CrowdSelect"
