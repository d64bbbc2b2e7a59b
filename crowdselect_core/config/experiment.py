"""What an experiment needs to know: a grid of selections, its replicates, its controls."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import Weights, read_budget, read_response
from crowdselect_core.config.flags import Flag
from crowdselect_core.config.metric_weights import WEIGHTS

ALL, LEAVE_ONE_OUT = "all", "leave-one-family-out"
NAMED = r"^[A-Za-z0-9][\w.+-]*$"

# Keys that a replicate or the experiment itself sets: in a method's mapping they would count for
# nothing, and stand in its name all the same.
NOT_OF_A_METHOD = {
    *("seed", "subsample", "heldout", "training", "evaluation", "experiment"),
    *("dataset", "store", "out", "report"),
}

Control = Literal[
    "random", "random-clusters", "paper-random", "reward", "length", "teacher", "untuned",
    "full-pool",
]  # fmt: skip
CONTROLS: tuple[Control, ...] = (
    "random", "random-clusters", "paper-random", "reward", "length", "teacher", "untuned",
    "full-pool",
)  # fmt: skip

# Tables of published numbers, by the names in experiment/published/paper.yaml.
PublishedName = Literal[
    "table1", "table2", "table4", "table7", "table13", "tables14-17", "table18", "table19"
]  # fmt: skip

Budget = Annotated[int | float, BeforeValidator(read_budget)]
OneResponse = Annotated[str | list[str], BeforeValidator(read_response)]
Keys = dict[str, Any]


class SubCrowd(Frozen):
    """A part of the crowd: models by their names, or whole families."""

    name: str = Field(pattern=NAMED, description="Name of the part", examples=["no-llama"])
    models: list[str] = Field([], description="Its models, by name")
    families: list[str] = Field([], description="In place of models, its families")
    without: list[str] = Field([], description="In place of both, the families that it lacks")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.models, self.families, self.without))) != 1:
            raise ValueError("expected exactly one of models, families and without")
        if self.name in (ALL, LEAVE_ONE_OUT):
            raise ValueError(f"name {self.name!r} is reserved; choose another")
        return self


Crowd = Literal["all", "leave-one-family-out"] | SubCrowd


def _listed(value: Any) -> Any:
    """Read a bare word as a list of it."""
    return [value] if isinstance(value, str) else value


Crowds = Annotated[list[Crowd], BeforeValidator(_listed)]
PublishedNames = Annotated[list[PublishedName], BeforeValidator(_listed)]
RewardSets = Annotated[list[Literal["all"] | list[str]], BeforeValidator(_listed)]


class CellsConfig(Frozen):
    """A part of a grid: the product of its lists; a list that is left out is the whole grid's."""

    methods: list[str | Keys] | None = Field(
        None, min_length=1, description="As experiment.methods"
    )
    clusters: list[int] | None = Field(None, min_length=1, description="As experiment.clusters")
    budgets: list[Budget] | None = Field(None, min_length=1, description="As experiment.budgets")
    weights: list[Weights] | None = Field(None, min_length=1, description="As experiment.weights")
    responses: list[OneResponse] | None = Field(
        None, min_length=1, description="As experiment.responses"
    )
    reward_models: RewardSets | None = Field(
        None, min_length=1, description="As experiment.reward_models"
    )
    crowds: Crowds | None = Field(None, min_length=1, description="As experiment.crowds")
    trainings: list[Keys] | None = Field(None, min_length=1, description="As experiment.trainings")


class ReplicateConfig(Frozen):
    """What differs between two replicates beside the draws and the seed of the training."""

    split: bool | None = Field(
        None,
        description="Whether each replicate has its own held-out rows, of heldout.share; otherwise "
        "all have those of the run's seed; when empty: yes, where rows are held out",
    )
    subsample: float | None = Field(
        0.8,
        gt=0,
        le=1,
        description="Each replicate has its own share of the pool; when empty, all have all of it",
    )


class PrimaryConfig(Frozen):
    """The one comparison that is named beforehand: a method against a baseline."""

    method: str = Field("crowdselect", description="Method of the cell")
    baseline: str = Field("random", description="Method of the cell that it is compared with")
    clusters: int | None = Field(
        None, ge=0, description="Clusters of both; when empty, the first of the grid's"
    )
    budget: Budget | None = Field(None, description="When empty, the first of the grid's")
    benchmark: str | None = Field(
        None, description="Name of the benchmark; when empty, the one that has the metric"
    )
    metric: str = Field(
        "loss_per_row",
        description="Metric of the leaderboard or of the choice; one of the leaderboard counts for "
        "nothing where nothing is trained",
        examples=["loss_per_row", "win_rate"],
    )


class AdvisorConfig(Frozen):
    """Which part of the crowd is worth its price, judged on the data set as a pilot."""

    keep: float = Field(
        0.8, gt=0, le=1, description="Share of the whole crowd's choice that is to be kept"
    )
    prices: dict[str, float] = Field(
        {},
        description="Price of an answer of each crowd model and of a score of each reward model; "
        "when empty, tokens: of the answer, and of prompt and answer that are scored",
        examples=[{"qwen2.5-7b": 0.0002, "qwen2.5-72b": 0.002, "skywork": 0.0001}],
    )
    unit: str = Field("tokens", min_length=1, description="Unit of the prices")


class ExperimentConfig(Frozen):
    """A grid of selections, with or without a training on each, over replicates."""

    methods: list[str | Keys] = Field(
        ["crowdselect", "difficulty", "separability", "stability", "reward", "random"],
        min_length=1,
        description="Methods: a name, or a mapping of config keys with the key method, and with a "
        "name of its own where one is wanted",
        examples=[["crowdselect", {"method": "length", "length": {"of": "response"}}]],
    )
    clusters: list[int] = Field([10], min_length=1, description="Clusters; 0: none")
    budgets: list[Budget] = Field(
        [1000], min_length=1, description="Rows, or fractions of the eligible rows"
    )
    weights: list[Weights] = Field(
        [WEIGHTS], min_length=1, description="Weights of the method crowdselect"
    )
    responses: list[OneResponse] = Field(
        ["best"], min_length=1, description="Which answer is kept, as the key response"
    )
    reward_models: RewardSets = Field(
        ["all"],
        min_length=1,
        description="all, or lists of names of reward models",
        examples=["all", [["skywork"], ["armorm"]]],
    )
    crowds: Crowds = Field(
        ["all"],
        min_length=1,
        description="all, leave-one-family-out, or parts of the crowd with names",
        examples=["all", [{"name": "small", "models": ["qwen2.5-3b", "qwen2.5-7b"]}]],
    )
    trainings: list[Keys] = Field(
        [{}],
        min_length=1,
        description="Each a mapping over `training`; {} is `training` itself",
        examples=[[{}, {"loss": "dpo"}]],
    )
    cells: list[CellsConfig] = Field(
        [],
        description="In place of the product of the lists above, products of a part of them each",
    )
    seeds: list[Annotated[int, Field(ge=0, le=2**32 - 1)]] = Field(
        [0, 1, 2], min_length=1, description="Seed of each replicate"
    )
    replicate: ReplicateConfig = Field(
        ReplicateConfig(), description="What differs between two replicates"
    )
    primary: PrimaryConfig | None = Field(
        None,
        description="The comparison that is named beforehand; all others are exploratory, and "
        "their p values are corrected by Holm",
    )
    advisor: AdvisorConfig | None = Field(
        None,
        description="Find a cheap part of the crowd and of the reward models that keeps the "
        "choice of the first crowdselect cell, and how far single models and weights change it",
    )
    train: Annotated[bool, Flag(None, "--train")] = Field(
        True, description="Train and evaluate on every choice; otherwise compare the choices alone"
    )
    controls: bool | list[Control] = Field(
        True,
        description="Fair controls that are added where the grid lacks them: random and clustered "
        "random with the same response rule, random with random answers, the top reward, the "
        "longest answer, the teacher, the untuned model, the full pool; false: none",
    )
    token_matched: bool | list[str] = Field(
        False,
        description="Compare each method of the grid, or those that are named, also with random "
        "rows whose kept answers have as many tokens as those of its choice",
        examples=[True, ["crowdselect"]],
    )
    full_pool_rows: int = Field(
        5000, ge=0, description="Most rows with which the full pool is a control"
    )
    published: PublishedNames = Field(
        [],
        description="Tables of the paper whose numbers the report shows beside the results",
        examples=["table2"],
    )
    gpus_per_cell: int = Field(1, ge=1, description="GPUs that a cell sees")
    max_parallel: Annotated[int | None, Flag("N", "--max-parallel")] = Field(
        None,
        ge=1,
        description="Cells that are trained at once; when empty, GPUs / gpus_per_cell, and one "
        "without GPUs. Changes no result",
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if twice := sorted({s for s in self.seeds if self.seeds.count(s) > 1}):
            raise ValueError(f"seeds: {twice[0]} stands twice")
        parts: list[ExperimentConfig | CellsConfig] = [self, *self.cells]
        for keys in (k for part in parts for k in part.methods or []):
            if isinstance(keys, dict) and not isinstance(keys.get("method"), str):
                raise ValueError(f"methods: {sorted(keys)} has no key method")
            if isinstance(keys, dict) and (taken := sorted(NOT_OF_A_METHOD & keys.keys())):
                raise ValueError(
                    f"methods: {taken[0]} is the experiment's own, not a method's: set it beside "
                    "experiment, or by seeds, replicate and trainings"
                )
        if any(k < 0 for part in parts for k in part.clusters or []):
            raise ValueError("clusters: expected 0 or more")
        budgets = [budget for part in parts for budget in part.budgets or []]
        if len({type(budget) for budget in budgets if budget == 1}) > 1:
            raise ValueError("budgets: 1 is one row, and 1.0 all of them: name one of the two")
        return self

    @property
    def wanted_controls(self) -> tuple[Control, ...]:
        """The controls that are added, in order."""
        if isinstance(self.controls, bool):
            return CONTROLS if self.controls else ()
        return tuple(c for c in CONTROLS if c in self.controls)
