"""`flows.score --check`: every reward model's conformance, before a long scoring job."""

from collections.abc import Iterator

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.planning.missing_work import scoring
from crowdselect_core.reward.conformance_gate import conform
from crowdselect_core.reward.factory import Resources, scorer_of


def check_all(config: SelectConfig, resources: Resources) -> Iterator[str]:
    """Load every reward model that is to score, check it and yield what was found.

    Raises:
        UserError: a reward model that cannot score, or fails the check.
    """
    for reward in scoring(config).scores:
        scorer = scorer_of(reward, resources)
        try:
            scorer.check()
            report = conform(reward, scorer)
        finally:
            scorer.close()
        if report is None:
            yield f"{reward.name}: can be asked; a {reward.kind} has no conformance check"
            continue
        for result in report.results:
            verdict = "passed" if result.passed else "FAILED"
            yield f"{reward.name}: {result.name} {verdict}: {result.found} ({result.expected})"
