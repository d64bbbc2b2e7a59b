"""What of the gates a row's eligibility follows from, for whoever compares two selections."""

from typing import Any

from crowdselect_core.config.quality import QualityConfig
from crowdselect_core.quality.benchmark_prompts import fingerprint, read_benchmarks


def identity(quality: QualityConfig) -> dict[str, Any]:
    """Return the gates with their thresholds; files of prompts by what they hold.

    Raises:
        ConfigError: a file of prompts cannot be read.
    """
    told = quality.model_dump(mode="json", include=set(quality.gates))
    if quality.decontamination is not None:
        prompts = read_benchmarks(quality.decontamination.against)
        told["decontamination"] = {**told["decontamination"], "against": fingerprint(prompts)}
    return told
