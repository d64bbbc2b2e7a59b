"""What of a config's method changes its ranking."""

from typing import Any

from crowdselect_core.annotate.factory import annotates, cache_spec
from crowdselect_core.annotate.targets import targets_identity
from crowdselect_core.config.method_models import InstagConfig
from crowdselect_core.config.methods import is_function
from crowdselect_core.config.reward import FunctionReward
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.models.token_count import counter_identity
from crowdselect_core.reward.function.scorer import function_identity
from crowdselect_core.stages.select.embeddings import embedder_identity


def method_identity(config: SelectConfig) -> dict[str, Any]:
    """Return what of the config's method changes its ranking; nothing for those without keys.

    Raises:
        ConfigError: a tokenizer or a function that is not there.
    """
    method = config.method
    if method == "length":
        return {
            "of": config.length.of,
            "counter": counter_identity(config.length.tokenizer, "length.tokenizer"),
        }
    if method == "k-center":
        return {"budget": config.budget}
    if method == "deita" and not annotates(config):
        return {"columns": config.deita.columns, **_filter_identity(config)}
    if annotates(config):
        identity: dict[str, Any] = {"annotations": cache_spec(config).key}
        if method == "deita":
            identity |= _filter_identity(config)
        if method == "instag":
            identity |= {"budget": config.budget, "min_frequency": config.instag.min_frequency}
            identity |= _tag_embedder(config.instag)
        if method == "rds+":
            identity |= {"budget": config.budget}
            identity["targets"] = targets_identity(config.rds.required_targets)
        return identity
    if is_function(method):
        try:
            return {"function": function_identity(own_function(config))}
        except ConfigError as e:
            raise ConfigError(str(e).replace("reward model", "method", 1)) from None
    return {}


def _tag_embedder(config: InstagConfig) -> dict[str, Any]:
    """Name the model that says which tags mean the same, where there is one."""
    if config.embedder is None:
        return {}
    return {"tag_embedder": embedder_identity(config.embedder), "similarity": config.similarity}


def filter_end(config: SelectConfig) -> int | None:
    """Return the kept rows after which deita's filter ends; None where it goes through all rows.

    It ends with the budget where the best rows that are kept are the selection. Clusters take rows
    further behind, a share or tokens need what is eligible in all, and the gate of duplicates
    keeps of each group the best row that the filter keeps.
    """
    whole = isinstance(config.budget, int) and config.budget_tokens is None
    gated = config.quality is not None and config.quality.duplicates is not None
    return int(config.budget) if whole and config.clusters <= 1 and not gated else None


def _filter_identity(config: SelectConfig) -> dict[str, Any]:
    end = filter_end(config)
    return {"threshold": config.deita.threshold} | ({} if end is None else {"budget": end})


def needs_vectors(method: str) -> bool:
    """Tell a method that holds the rows' embeddings against each other."""
    return method in ("k-center", "deita")


def own_function(config: SelectConfig) -> FunctionReward:
    """Return the function as the config of a reward function, by which it is found and named."""
    return FunctionReward(
        name=config.method, kind="function", path=config.method, version=config.function.version
    )
