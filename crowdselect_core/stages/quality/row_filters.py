"""Stage `row-filters`: the rows that a gate refuses which looks at one row and its kept answer."""

from typing import Any

import polars as pl

from crowdselect_core.config.quality import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.quality.row_filters import rules
from crowdselect_core.stages.base import Stage, one_cpu
from crowdselect_core.stages.methods.kept_rows import KeptRowReader, kept_identity
from crowdselect_core.stages.refs import Ref
from crowdselect_core.stages.shards import by_shard
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import FAILURES, check
from crowdselect_core.util.text import excerpt
from crowdselect_core.util.versions import version_of

STAGE, VERSION = "row-filters", 2
JUDGED = "judged"  # the count of rows that were looked at


def spec(config: SelectConfig, scores: Ref, metrics: Ref, answers: Ref) -> Spec:
    """Name the artifact: the rows, which answer is kept, the gates with their thresholds."""
    quality = required(config.quality)
    identity: dict[str, Any] = {
        "gates": quality.model_dump(mode="json", include=set(quality.row_gates)),
        "response": kept_identity(config),
    }
    if quality.language is not None:
        identity["py3langid"] = version_of("py3langid")
    return Spec(STAGE, VERSION, identity, {"answers": answers.key, "metrics": metrics.key})


def plan(config: SelectConfig, store: Store, scores: Ref, metrics: Ref, answers: Ref) -> Plan:
    """Hold every row that could be chosen, with the answer that would be kept, to every gate.

    Output columns: FAILURES, a row for every gate that a row fails.
    Counts: judged, and the rows that fail by gate.
    """
    reader = KeptRowReader(config, store, scores, metrics, answers)
    gates = rules(required(config.quality))

    def shard(frame: pl.DataFrame) -> ShardResult:
        found = reader.of(frame, responses=True)
        failures = []
        ids = found.rows["instruction_id"].to_list()
        for row, asked, said in zip(ids, found.instructions, found.responses, strict=True):
            instruction, response = asked or "", said or ""
            for gate, rule in gates.items():
                if (why := rule(instruction, response)) is not None:
                    shown = (excerpt(instruction), excerpt(response))
                    failures.append((row, gate, excerpt(why), *shown))
        table = pl.DataFrame(failures, FAILURES, orient="row")
        counts = {gate: int((table["gate"] == gate).sum()) for gate in gates}
        return ShardResult(check(table, FAILURES, STAGE), {JUDGED: len(ids), **counts})

    return by_shard(scores.open(store), shard)


ROW_FILTERS = Stage(
    STAGE,
    "Hold every row with its kept answer to the gates that look at one row.",
    spec,
    plan,
    one_cpu,
)
