"""CrowdSelect: pick the best instruction-response pairs by the wisdom of a crowd of LLMs.

The method as a plain library. The names below are loaded when they are first used, so that
`import crowdselect_core` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowdselect_core.config.crowd import CrowdModel
    from crowdselect_core.metrics.foundation_metrics import crowd_metrics
    from crowdselect_core.selection.integration import integrate
    from crowdselect_core.selection.quota import select

_HOME = {
    "CrowdModel": "crowdselect_core.config.crowd",
    "crowd_metrics": "crowdselect_core.metrics.foundation_metrics",
    "integrate": "crowdselect_core.selection.integration",
    "select": "crowdselect_core.selection.quota",
}

__all__ = ["CrowdModel", "crowd_metrics", "integrate", "select"]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("crowdselect_core.util.versions").version_of("crowdselect")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'crowdselect_core' has no attribute {name!r}")
