"""What can be refused of the quality gates before anything is computed."""

from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.quality.benchmark_prompts import read_benchmarks
from crowdselect_core.quality.language import check_languages
from crowdselect_core.quality.sketches import rensa


def check_gates(config: SelectConfig) -> None:
    """Refuse gates that cannot be run.

    Raises:
        ConfigError: a package is not installed, a language is unknown, a file of prompts cannot be
            read, prompts cannot be embedded; a frozen reselection, which sees new rows alone.
        StorageError: the place of a file of prompts cannot be reached.
    """
    quality = config.quality
    if quality is None:
        return
    frozen = isinstance(config, ReselectConfig) and config.mode == "frozen"
    if frozen and config.rollback_to is None:  # type: ignore[attr-defined]
        raise ConfigError(
            "quality: mode frozen measures new rows alone, and gates compare all rows; pass --mode "
            "refit, or leave quality out"
        )
    if quality.language is not None:
        check_languages(quality.language.languages)
    if quality.duplicates is not None and quality.duplicates.near is not None:
        rensa()
    gate = quality.decontamination
    if gate is not None:
        read_benchmarks(gate.against)
        if gate.similarity is not None and config.embedder.kind == "column":
            raise ConfigError(
                "quality.decontamination.similarity: the vectors of a column have none for the "
                "benchmark's prompts; leave similarity out, or name an embedder"
            )


def check_alone(config: SelectConfig) -> None:
    """Refuse a run that needs a selection where none is to be made.

    Raises:
        ConfigError: quality.only is set.
    """
    if config.quality is not None and config.quality.only:
        raise ConfigError(
            "quality.only: the run would end after the gates, and this one needs a selection; set "
            "it to false, or run flows.select"
        )
