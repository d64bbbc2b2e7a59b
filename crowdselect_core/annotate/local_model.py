"""What the annotators share that read rows with a causal language model in this process."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice

from crowdselect_core.annotate.base import Annotation, Row
from crowdselect_core.config.method_models import IfdConfig, RdsConfig
from crowdselect_core.generate.base import EngineDown
from crowdselect_core.models.causal_lm import OutOfMemory, Source
from crowdselect_core.util.once import Once

WINDOW = 256  # rows of a shard that are tokenised and sorted by length together


def source_of(key: str, config: IfdConfig | RdsConfig) -> Source:
    """Return where the model comes from; `key` is the config key that names it.

    Raises:
        ConfigError: none is named.
    """
    return Source(
        key,
        config.required_model,
        config.revision,
        config.dtype,
        config.device,
        config.attn_implementation,
        config.trust_remote_code,
    )


class LocalAnnotator(ABC):
    """Annotates rows in windows that are batched by length; the first `run` loads the model."""

    def __init__(self, key: str, config: IfdConfig | RdsConfig) -> None:
        self._key, self._model = key, config.model
        self._source = source_of(key, config)
        self.close()

    def check(self) -> None:
        """Check that the model has a config and a tokenizer, without loading weights."""
        self._source.config()
        self._source.tokenizer()

    def run(self, rows: Iterator[Row], done: Callable[[Annotation], None]) -> None:
        """Annotate every row.

        Raises:
            EngineDown: one row alone does not fit in the device's memory.
        """
        for window in _windows(rows):
            try:
                for annotation in self._window(window):
                    done(annotation)
            except OutOfMemory:
                raise EngineDown(
                    f"{self._key}.model {self._model!r} has no memory for one row alone: lower "
                    "max_length, set dtype: bfloat16, or name another device"
                ) from None

    def load(self) -> None:
        """Load the model now; its files may then go away."""
        self._loaded()

    def close(self) -> None:
        """Free the model."""
        self._loaded = Once(lambda: (self._source.load(), self._source.tokenizer()))

    @abstractmethod
    def _window(self, window: Sequence[Row]) -> Iterator[Annotation]:
        """Annotate some rows; the model may have no memory for them (OutOfMemory)."""


def _windows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut the rows of every shard into windows.

    A row's batch, and so the noise in its last digits, then does not depend on the rows of other
    shards, and whoever computes a shard comes to the same bytes.
    """
    for _, own in groupby(rows, lambda row: row.shard):
        while window := list(islice(own, WINDOW)):
            yield window
