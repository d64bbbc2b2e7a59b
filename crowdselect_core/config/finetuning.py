"""What flows.finetune needs to know: a selection and a training, or a file of rows to train on."""

from typing import Self

from pydantic import Field

from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.finetune import required
from crowdselect_core.config.heldout import HeldoutConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError


class FinetuneConfig(SelectConfig):
    """Fine-tuning on a selection, or on the rows of training.train_file."""

    # A file of rows needs none; whoever selects has asked `selects` before.
    dataset: DatasetConfig | None = Field(  # type: ignore[assignment]
        None,
        description="The data set of the selection that is trained on: a path, URL or hub id, or a "
        "mapping; not needed with training.train_file, unless rows of it are held out",
        examples=[{"path": "data/instructions.jsonl", "format": "messages"}],
    )

    @property
    def selects(self) -> bool:
        """Whether a selection is made for the training."""
        return required(self.training).train_file is None

    def resolved(self, scores: bool = True) -> Self:
        """Return the config, if it says what to train on.

        Raises:
            ConfigError: there is no training, no data set to select from, or none to hold rows out
                of.
            CrowdError: see `SelectConfig.resolved`.
        """
        if self.selects:
            if self.dataset is None:
                raise ConfigError(
                    "dataset is missing: the model is trained on a selection of it; name one by "
                    "--dataset, or rows to train on by --training-train-file FILE.jsonl"
                )
            return super().resolved(scores)
        check_heldout(self.heldout, self.dataset)
        return self


def check_heldout(heldout: HeldoutConfig | None, dataset: DatasetConfig | None) -> None:
    """Refuse rows that are held out of nothing, where a file is trained on.

    Raises:
        ConfigError: there is no data set.
    """
    if heldout is not None and dataset is None:
        raise ConfigError(
            "dataset is missing: heldout sets rows of it aside, which training.train_file may not "
            "hold; name it by --dataset, or leave heldout out"
        )
