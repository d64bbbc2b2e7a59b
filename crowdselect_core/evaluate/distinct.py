"""Models and judges that the store could not tell apart: one would get the other's cells."""

from collections.abc import Sequence

from crowdselect_core.config.engine import SamplingConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.answers import answer_spec
from crowdselect_core.evaluate.candidates import Candidate
from crowdselect_core.evaluate.judging.judge import verdict_spec


def check_distinct(models: Sequence[Candidate], evaluation: EvaluationConfig) -> None:
    """Refuse two endpoints, or two judges, of one identity.

    Models whose weights are here may be equal: their answers are then the same indeed.

    Raises:
        ConfigError: two are asked for the same model in the same way.
    """
    keys = [
        (m.name, answer_spec(m, SamplingConfig(), evaluation).key)
        for m in models
        if m.weights is None
    ]
    _refuse_equal("models", "answers", keys)
    judges = [(j.name, verdict_spec(j).key) for j in evaluation.judges]
    _refuse_equal("judges", "verdicts", judges)


def _refuse_equal(which: str, what: str, keys: Sequence[tuple[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, key in keys:
        if key in seen:
            raise ConfigError(
                f"evaluation.{which}: {seen[key]!r} and {name!r} ask the same model in the same "
                f"way, so their {what} are the same: where two servers use one name for different "
                f"models, give one of them a revision (its {what} are asked anew); else leave one "
                "out"
            )
        seen[key] = name
