"""The cluster of a config, checked: what is named there, and whether it can be reached."""

from crowdselect_core.cluster import (
    annotating,
    benchmark_answers,
    heldout_losses,
    scoring,
    server_nodes,
    training,
)
from crowdselect_core.cluster.address import address_of, check_reachable
from crowdselect_core.cluster.connection import connect
from crowdselect_core.config.report import ReportConfig
from crowdselect_core.config.reselect import ReselectConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError, nearest, shown
from crowdselect_core.stages.graph import STAGES

OTHERS = (
    *(scoring.STAGE, annotating.STAGE, training.STAGE, heldout_losses.STAGE),
    *(benchmark_answers.STAGE, server_nodes.KEY),
)


def uses_cluster(config: SelectConfig) -> bool:
    """Tell whether a run of a config may compute on a cluster; a report and a rollback do not."""
    if config.executor.kind != "ray" or isinstance(config, ReportConfig):
        return False
    return not (isinstance(config, ReselectConfig) and config.rollback_to is not None)


def check_named(config: SelectConfig) -> None:
    """Check what names the cluster and what parts take of it; nothing is connected to.

    Raises:
        ConfigError: resources of a stage that does not spread; RAY_ADDRESS is no address.
    """
    if not uses_cluster(config):
        return
    spreading = [s.name for s in STAGES.values() if s.needs is not None] + list(OTHERS)
    for name in config.executor.resources:
        if name not in spreading:
            raise ConfigError(
                f"executor.resources: {name!r} is no stage that spreads over a cluster"
                f"{nearest(name, spreading)} ({shown(sorted(spreading))})"
            )
    address_of(config.executor.address)


def check_port(config: SelectConfig) -> None:
    """See that something listens at the address; Ray is not imported for it.

    Raises:
        ConfigError: nothing does.
    """
    if uses_cluster(config):
        check_reachable(address_of(config.executor.address))


def join(config: SelectConfig) -> None:
    """Connect to the cluster of a run, before anything is computed.

    Raises:
        ConfigError: see `check_named` and `connect`.
    """
    if uses_cluster(config):
        check_named(config)
        connect(config.executor.address)
