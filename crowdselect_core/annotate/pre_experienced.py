"""A model of ifd that is trained first, on a small sample from clusters of the instructions.

Source: Li et al., arXiv 2308.12032: 100 clusters, 10 rows of each, one epoch. There the clusters
are of the model's own hidden states, rows are drawn from the middle of a cluster, and the model
learns Alpaca's prompt; here they are the run's embeddings, rows are drawn from the whole cluster,
and the model learns its own chat template, as in every training of this project.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from crowdselect_core.config.finetune import TrainingConfig
from crowdselect_core.config.method_models import PreExperiencedConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.store.artifacts import Artifact

MODEL = "model"  # the folder of a trained model's files in its artifact


def wanted(config: SelectConfig) -> PreExperiencedConfig | None:
    """Return how the method's model is trained first; None where it is taken as it is."""
    return config.ifd.pre_experienced if config.method == "ifd" else None


def sample_config(config: SelectConfig, own: PreExperiencedConfig) -> SelectConfig:
    """Return the config by which the sample is drawn, and the model trained on it.

    Raises:
        ConfigError: no model is named.
    """
    training = TrainingConfig(
        base_model=config.ifd.required_model,
        revision=config.ifd.revision,
        num_train_epochs=own.num_train_epochs,
        learning_rate=own.learning_rate,
        global_batch_size=own.global_batch_size,
        max_length=own.max_length,
        seed=config.seed,
    )
    update = {
        "method": "random", "response": config.response_mode, "direction": "top",
        "clusters": own.clusters, "quota": "equal", "budget": own.rows, "budget_tokens": None,
        "allow_short": True, "export": [], "training": training,
    }  # fmt: skip
    return config.model_copy(update=update)


@contextmanager
def with_weights(config: SelectConfig, trained: Artifact | None) -> Iterator[SelectConfig]:
    """Lay the weights of the trained model out, and name them, while the block runs.

    Args:
        config: of the method; it comes as it is where nothing was trained.
        trained: the model.

    Raises:
        DamagedArtifact: the stored model is damaged.
        StorageError: the disk has not enough room.
    """
    if trained is None:
        yield config
        return
    from crowdselect_core.finetune.files import unpack
    from crowdselect_core.finetune.work_folder import work_folder

    size = sum(int(file["bytes"]) for file in trained.manifest.facts["files"].values())
    with work_folder(size) as work:
        unpack(trained, work)
        own = config.ifd.model_copy(update={"model": str(work / MODEL), "revision": None})
        yield config.model_copy(update={"ifd": own})
