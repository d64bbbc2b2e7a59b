"""Stage `column-values`: a column of numbers of the data set, for the method column:NAME."""

from crowdselect_core.config.methods import COLUMN
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.ingest.number_columns import find_number, read_number
from crowdselect_core.ingest.reader import Partition
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.instruction_rows import PLACES, InstructionRows
from crowdselect_core.stages.partitions import open_dataset
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_partition
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult

STAGE, VERSION = "column-values", 2


def spec(config: SelectConfig, instructions: Ref, columns: list[str]) -> Spec:
    """Name the artifact: the rows and the columns."""
    return Spec(STAGE, VERSION, {"columns": columns}, {"instructions": instructions.key})


def plan(config: SelectConfig, store: Store, instructions: Ref, columns: list[str]) -> Plan:
    """Read the columns partition by partition.

    Output columns: instruction_id; of each column its numbers (or lists of them, one a turn)
    under column:NAME, null where one is missing, NaN or infinite.

    Raises:
        DatasetError: no such column, or not of numbers.
    """
    dataset = open_dataset(config)
    leaves = {name: find_number(dataset, name, turns=True) for name in columns}
    rows = InstructionRows(instructions.open(store), dataset.partitions(config.shard_rows))

    def shard(part: Partition) -> ShardResult:
        kept, places = rows.of(part)
        numbers = [
            read_number(dataset, part, leaf).gather(places).alias(COLUMN + name)
            for name, leaf in leaves.items()
        ]
        return ShardResult(kept.with_columns(numbers))

    return by_partition(rows.partitions, shard, config.shard_rows)


COLUMN_VALUES = Stage(
    "column-values", "Read a column of numbers of the data set.", spec, plan, one_cpu, PLACES
)
