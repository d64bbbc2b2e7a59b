"""Stages `gated` and `deduplicated`: which rows may be chosen, with the gates' reasons.

Both have the columns of the stage `answers`, whose place they take before the ranking.
"""

from collections.abc import Mapping

import polars as pl

from crowdselect_core.config.quality import required
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import SelectionError
from crowdselect_core.selection.eligibility import GATE_CODES
from crowdselect_core.stages.base import Stage
from crowdselect_core.stages.refs import GateArtifacts, Ref
from crowdselect_core.stages.shards import sliced
from crowdselect_core.store.artifacts import Store
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.plan import Plan, ShardResult
from crowdselect_core.tables import ANSWERABLE, check
from crowdselect_core.util.once import Once

STAGE, VERSION = "gated", 1
OPEN = pl.col("answerable") & pl.col("barred").is_null()  # of rows that may be chosen
DEDUPLICATED_STAGE, DEDUPLICATED_VERSION = "deduplicated", 3


def spec(
    config: SelectConfig, answers: Ref, filters: Ref | None, contamination: Ref | None
) -> Spec:
    """Name the artifact: the rows, and what each gate found."""
    inputs = {"answers": answers.key}
    found = {"row-filters": filters, "contamination": contamination}
    inputs |= {name: ref.key for name, ref in found.items() if ref is not None}
    return Spec(STAGE, VERSION, {}, inputs)


def plan(
    config: SelectConfig,
    store: Store,
    answers: Ref,
    filters: Ref | None,
    contamination: Ref | None,
) -> Plan:
    """Give every row that a gate refuses its reason: that of the first gate, in their order.

    Output columns: ANSWERABLE, in the order of the data set.
    Counts: passed, the rows that may be chosen.
    """

    def make() -> pl.DataFrame:
        table = answers.open(store).frame()
        failed = failures(store, filters, contamination)
        first = failed.unique("instruction_id", keep="first", maintain_order=True)
        reason = first.select("instruction_id", reason=pl.format("{}: {}", "code", "detail"))
        joined = table.join(reason, on="instruction_id", how="left", maintain_order="left")
        joined = joined.with_columns(barred=pl.coalesce("barred", "reason")).drop("reason")
        return check(joined, ANSWERABLE, STAGE)

    whole, size = Once(make), config.shard_rows

    def shard(index: int) -> ShardResult:
        part = whole().slice(index * size, size)
        return ShardResult(part, {"passed": part.filter(OPEN).height})

    return Plan(-(-answers.rows // size), shard, cut={"rows": size})


GATED = Stage(
    STAGE, "Say which rows pass the quality gates, and why the others do not.", spec, plan
)


def failures(store: Store, filters: Ref | None, contamination: Ref | None) -> pl.DataFrame:
    """Return every gate that a row fails, the gates in their order.

    Output columns: instruction_id; gate; code (which begins the reason); detail.
    """
    schema = {"instruction_id": pl.String, "gate": pl.String, "detail": pl.String}
    found = [pl.DataFrame(schema=schema)]
    if filters is not None:
        found.append(filters.open(store).frame(list(schema)))
    if contamination is not None:
        matches = contamination.open(store).frame()
        found.append(
            matches.select(
                "instruction_id",
                gate=pl.lit("decontamination"),
                detail=pl.format("{} {} ({})", "benchmark", "item", "kind"),
            )
        )
    table = pl.concat(found)
    order = list(GATE_CODES)
    return (
        table.with_columns(
            code=pl.col("gate").replace_strict(GATE_CODES, return_dtype=pl.String),
            place=pl.col("gate").replace_strict(
                {gate: order.index(gate) for gate in order}, return_dtype=pl.Int64
            ),
        )
        .sort("place", maintain_order=True)
        .drop("place")
    )


def check_some_left(config: SelectConfig, gates: GateArtifacts) -> None:
    """Refuse gates that leave nothing to choose from.

    Raises:
        SelectionError: a gate, or all of them but that of duplicates together, leave no row.
    """
    if not gates.gated.is_computed or gates.gated.counts.get("passed"):
        return
    store = Store(config.store)
    candidates = gates.candidates.open(store).frame().filter(OPEN)
    if candidates.is_empty():
        return  # the choice itself says why
    failed = failures(store, gates.row_filters, gates.contamination)
    lost = failed.join(candidates, on="instruction_id", how="semi")
    by_gate: Mapping[str, int] = {
        gate: lost.filter(pl.col("gate") == gate)["instruction_id"].n_unique()
        for gate in required(config.quality).gates
        if gate != "duplicates"
    }
    for gate, rows in by_gate.items():
        if rows == candidates.height:
            example = lost.filter(pl.col("gate") == gate)["detail"][0]
            raise SelectionError(
                f"quality.{gate} removes all {rows:,} rows that could be chosen (e.g. "
                f"{example!r}); loosen its thresholds, or leave it out"
            )
    if lost["instruction_id"].n_unique() == candidates.height:
        told = ", ".join(f"{gate} {rows:,}" for gate, rows in by_gate.items())
        raise SelectionError(
            f"the quality gates together remove all {candidates.height:,} rows that could be "
            f"chosen ({told}); loosen one of them"
        )


def deduplicated_spec(config: SelectConfig, passed: Ref, groups: Ref, ranking: Ref) -> Spec:
    """Name the artifact: the rows, the groups, and the ranking that says which row is best."""
    inputs = {"gated": passed.key, "duplicate-groups": groups.key, "ranking": ranking.key}
    return Spec(DEDUPLICATED_STAGE, DEDUPLICATED_VERSION, {}, inputs)


def deduplicated_plan(
    config: SelectConfig, store: Store, passed: Ref, groups: Ref, ranking: Ref
) -> Plan:
    """Keep of each group the eligible row that ranks best; the others get its id as their reason.

    So do rows that the method itself leaves out: ranked again without the rest, they may come in.
    Of a group all of whose rows it leaves out, and of rows with the same score, the one of the
    least id stays.

    Output columns: ANSWERABLE; duplicate_of (the row that stays, null for others); duplicate_kind
    (the strictest kind by which the two are in one group).
    """

    def make() -> tuple[pl.DataFrame, list[str]]:
        table = passed.open(store).frame()
        ranked = ranking.open(store).frame(["instruction_id", "score", "eligible"])
        open_ = table.filter(OPEN)
        found = lesser_duplicates(groups.open(store).frame(), ranked, open_)
        joined = table.join(found, on="instruction_id", how="left", maintain_order="left")
        reason = pl.format("{}: {}", pl.lit(GATE_CODES["duplicates"]), "duplicate_of")
        joined = joined.with_columns(barred=pl.coalesce("barred", reason))
        return check(joined, ANSWERABLE, DEDUPLICATED_STAGE), []

    return sliced(make, passed.rows, config.shard_rows)


DEDUPLICATED = Stage(
    DEDUPLICATED_STAGE,
    "Keep of each group of duplicates the row that ranks best.",
    deduplicated_spec,
    deduplicated_plan,
)


def lesser_duplicates(
    groups: pl.DataFrame, ranked: pl.DataFrame, passed: pl.DataFrame
) -> pl.DataFrame:
    """Return the rows that may be chosen and are not the best one of their group.

    The best is the eligible row of the highest score; where none is eligible, that of the least id.

    Input columns: of the groups instruction_id and a label by kind, the strictest kind first; of
    the ranking instruction_id, score, eligible; of the rows that pass the other gates
    instruction_id.
    Output columns: instruction_id, duplicate_of, duplicate_kind.
    """
    kinds = [name for name in groups.columns if name != "instruction_id"]
    widest = kinds[-1]
    rows = groups.join(passed, on="instruction_id", how="semi")
    rows = rows.join(ranked, on="instruction_id", how="inner").with_columns(
        score=pl.when("eligible").then("score")
    )
    rows = rows.sort(["score", "instruction_id"], descending=[True, False], nulls_last=True)
    best = rows.unique(widest, keep="first", maintain_order=True)
    best = best.select(
        pl.col("instruction_id").alias("duplicate_of"),
        pl.col(widest),
        *(pl.col(kind).alias(f"best {kind}") for kind in kinds),
    )
    both = rows.join(best, on=widest, how="inner").filter(
        pl.col("instruction_id") != pl.col("duplicate_of")
    )
    same = [pl.when(pl.col(k) == pl.col(f"best {k}")).then(pl.lit(k)) for k in kinds]
    return both.select("instruction_id", "duplicate_of", duplicate_kind=pl.coalesce(same)).sort(
        "instruction_id"
    )
