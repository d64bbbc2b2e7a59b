"""What a method weighs, and what a crowd must have for the metrics that have weight."""

from collections.abc import Mapping

from crowdselect_core.config.crowd import CrowdModel, families
from crowdselect_core.config.metric_weights import MetricWeights
from crowdselect_core.errors import CrowdError

# method -> its weights of difficulty, separability, stability, headroom; None: those the user gives
METHODS: Mapping[str, MetricWeights | None] = {
    "crowdselect": None,
    "difficulty": (1.0, 0.0, 0.0, 0.0),
    "separability": (0.0, 1.0, 0.0, 0.0),
    "stability": (0.0, 0.0, 1.0, 0.0),
    "headroom": (0.0, 0.0, 0.0, 1.0),
}


def method_weights(method: str, weights: MetricWeights) -> MetricWeights | None:
    """Return the weights that a method ranks by; None for one that weighs no metrics.

    Args:
        method: its name.
        weights: those that the user gives, checked (`config.metric_weights`).
    """
    return METHODS[method] or weights if method in METHODS else None


def check_families(crowd: list[CrowdModel], weights: MetricWeights) -> None:
    """Check that stability can be had where it has weight.

    Raises:
        CrowdError: no family has two models that differ in size, so stability is undefined for
            every row and none would be eligible.
    """
    if weights[2] == 0:
        return
    sizes = {name: {m.size for m in members} for name, members in families(crowd).items()}
    if not any(len(s) >= 2 for s in sizes.values()):
        raise CrowdError(
            f"crowd: none of the {len(sizes)} families of {len(crowd)} models has two models of "
            "different size, so stability is undefined for every row: give models of one kind "
            "the same family and their sizes, or give stability no weight (weights 1,1,0)"
        )


def check_student(crowd: list[CrowdModel], weights: MetricWeights) -> None:
    """Check that headroom can be had where it has weight.

    Raises:
        CrowdError: the crowd has no student, so headroom is undefined for every row and none
            would be eligible.
    """
    weight = weights[3]
    if weight != 0 and not any(m.role == "student" for m in crowd):
        raise CrowdError(
            f"crowd: headroom has the weight {weight:g}, but none of the {len(crowd)} models is "
            "the student, so it is undefined for every row: give the model that is to be trained "
            "'role: student' in the crowd file, or headroom no weight (weights 1,1,2)"
        )
