"""Which models a benchmark that needs their weights can measure."""

from collections.abc import Sequence

from crowdselect_core.errors import ConfigError
from crowdselect_core.evaluate.candidates import Candidate


def local_models(where: str, models: Sequence[Candidate]) -> tuple[list[Candidate], list[str]]:
    """Return the models whose weights are here, and a note on the others.

    Raises:
        ConfigError: there are none.
    """
    local = [model for model in models if model.weights is not None]
    if not local:
        raise ConfigError(
            f"{where}: needs the weights of a model, and all models are endpoints: name a folder "
            "or hub id by --model, or in evaluation.models without an engine openai"
        )
    notes = [
        f"{where}: {model.name} is an endpoint, whose weights are not here; it is left out"
        for model in models
        if model.weights is None
    ]
    return local, notes
