"""What must be the same for new rows to be measured as the base's were."""

from collections.abc import Mapping
from typing import Any

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.generate.identity import cache_spec as answer_cells
from crowdselect_core.reward.identity import cache_spec as score_cells
from crowdselect_core.stages.heldout import split
from crowdselect_core.stages.heldout.subsample import subsample_identity
from crowdselect_core.stages.quality import identity as gates
from crowdselect_core.stages.select import embeddings, ranking
from crowdselect_core.stages.select.answers import mode_of

# What only the choice among measured rows depends on.
CHOICE = (
    "budget", "budget_tokens", "tokenizer", "quota", "allow_short", "response", "export", "pairs",
)  # fmt: skip


# Where things lie, how they run, and what is done with the series.
EXECUTION = (
    "store", "out", "workers", "shard_rows", "credentials_block", "max_failure_rate",
    "report", "series", "mode", "base", "rollback_to",
)  # fmt: skip


def measures(config: SelectConfig) -> dict[str, Any]:
    """Return all of a resolved config that a row's numbers, its cluster or its rank follow from.

    Raises:
        UserError: a model cannot be pinned, a list of ids cannot be read.
    """
    mode = mode_of(config)
    return {
        "crowd": {
            m.name: {
                "family": m.family,
                "size": m.size,
                "role": m.role,
                "answers": answer_cells(m).key if m.engine else None,
            }
            for m in config.everyone
        },
        "reward_models": {
            name: None if isinstance(r, str) else score_cells(r).key
            for name, r in zip(config.reward_names, config.reward_models, strict=True)
        },
        "reference_model": config.reference_model,
        "clusters": config.clusters,
        "embedder": embeddings.identity(config) if config.clusters > 1 else None,
        "ranking": ranking.identity(config),
        "response": {"models": list(mode.models), "scored": mode.needs_score},
        "columns": dict(config.dataset.columns),
        "seed": config.seed,
        **({"heldout": split.identity(config)} if config.heldout else {}),
        **subsample_identity(config),
        **({"quality": gates.identity(config.quality)} if config.quality else {}),
    }


def told(config: SelectConfig) -> dict[str, Any]:
    """Return what a record tells of its config; it holds no secrets, which configs refuse."""
    return config.model_dump(mode="json", exclude=set(EXECUTION))


def choice(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what, of what `told` gave, only the choice among measured rows depends on."""
    of = config.get("budget_tokens_of", "row")  # which records of earlier versions do not have
    return {"budget_tokens_of": of, **{name: config[name] for name in CHOICE}}
