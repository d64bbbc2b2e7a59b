"""CrowdSelect: pick the best instruction-response pairs by the wisdom of a crowd of LLMs.

The method as a plain library. The names below are loaded when they are first used, so that
`import crowdselect_core` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowdselect_core.crowd import CrowdModel
    from crowdselect_core.integration import integrate
    from crowdselect_core.metrics import crowd_metrics
    from crowdselect_core.selection.quota import select

_HOME = {
    "CrowdModel": "crowdselect_core.crowd",
    "crowd_metrics": "crowdselect_core.metrics",
    "integrate": "crowdselect_core.integration",
    "select": "crowdselect_core.selection.quota",
}

__all__ = ["CrowdModel", "crowd_metrics", "integrate", "select"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'crowdselect_core' has no attribute {name!r}")
