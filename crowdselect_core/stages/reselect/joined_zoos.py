"""Stage `zoos`: the zoos of a series of selections, one behind the other."""

from collections.abc import Sequence

import polars as pl

from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import Ref
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult, single

STAGE, VERSION = "zoos", 2


def spec(config: SelectConfig, parts: Sequence[Ref]) -> Spec:
    """Name the artifact: the zoos in order."""
    return Spec(STAGE, VERSION, {}, {f"{i:06d}": ref.key for i, ref in enumerate(parts)})


def plan(config: SelectConfig, store: Store, parts: Sequence[Ref]) -> Plan:
    """List zoos in order; output columns: key."""
    return single(lambda: ShardResult(pl.DataFrame({"key": [ref.key for ref in parts]})))


ZOOS = Stage("zoos", "Concatenate zoos.", spec, plan)
