"""What a run is told to do: frozen pydantic models, drawn as forms by the Prefect UI.

Names follow Hugging Face, TRL and vLLM where these have one. Nothing here reads a file but a
crowd file that is named (`SelectConfig.resolved`).
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from crowdselect_core.config.base import Frozen, refuse_credentials
from crowdselect_core.config.crowd import CrowdModel, check_crowd, read_crowd
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.fields import Place, Weights, read_budget, read_layouts, read_names
from crowdselect_core.config.response_mode import response_mode
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.errors import ConfigError, nearest, shown

Method = Literal[
    "crowdselect", "difficulty", "separability", "stability", "headroom", "reward", "random"
]
Direction = Literal["top", "bottom"]
Quota = Literal["equal", "proportional", "reference"]
DatasetFormat = Literal[
    "auto",
    "messages",
    "sharegpt",
    "alpaca",
    "instruction",
    "generator-zoo",
    "scores-wide",
    "scores-long",
]
Export = Literal["sharegpt", "alpaca", "prompt-completion", "pairs"]

COLUMNS = (  # what dataset.columns may rename
    "instruction_id",
    "instruction",
    "content",
    "messages",
    "conversations",
    "input",
    "system",
)


class DatasetConfig(Frozen):
    """Where the instructions, the crowd's answers and their scores are."""

    path: Place = Field(
        min_length=1,
        description="A file, folder or glob (parquet, jsonl, csv; local or any fsspec URL such as "
        "s3://bucket/zoo/*.parquet), a saved `datasets` folder, or a Hugging Face hub id",
        examples=["s3://bucket/zoo/*.parquet", "Magpie-Align/Magpie-100K-Generator-Zoo"],
    )
    format: DatasetFormat = Field(
        "auto",
        description="Instructions: messages (lists of role, content), sharegpt (conversations of "
        "from, value), alpaca (instruction, input), instruction (or prompt). With scores: "
        "generator-zoo: one struct column per crowd model; scores-wide: one number column per "
        "crowd model; scores-long: columns instruction_id, model, score",
    )
    name: str | None = Field(
        None, description="Configuration of a hub data set", examples=["default"]
    )
    split: str | None = Field(
        None,
        description="Split of a hub or saved data set (left empty: train), or of a folder: the "
        "files named train-*, test-*, ... (left empty: all files)",
        examples=["train"],
    )
    revision: str | None = Field(None, description="Commit or tag of a hub data set")
    columns: dict[str, str] = Field(
        {},
        description="The data set's own column names, where they differ: {instruction_id: uuid, "
        "instruction: prompt, content: content}",
        examples=[{"instruction_id": "uuid", "instruction": "prompt"}],
    )
    storage_options: dict[str, str | int | float | bool | None] = Field(
        {},
        description="Options of the fsspec file system; never credentials",
        examples=[{"anon": True}],
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        refuse_credentials(
            "storage_options",
            self.storage_options,
            "set it in the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE, HF_TOKEN), a config is "
            "stored and shown",
        )
        if unknown := set(self.columns) - set(COLUMNS):
            name = sorted(unknown)[0]
            raise ValueError(
                f"columns: unknown name {name!r}{nearest(name, COLUMNS)} (known: {shown(COLUMNS)})"
            )
        return self


class PairsConfig(Frozen):
    """Which answers make a preference pair of a chosen row."""

    rejected: Literal["worst"] | Annotated[int, Field(ge=2)] = Field(
        "worst", description="The worst answer, or the one of this rank (2 is the second best)"
    )
    min_margin: float = Field(
        0.0, ge=0, description="Least difference of the two scores; rows below give no pair"
    )


class SelectConfig(Frozen):
    """Everything a selection is told; each key is also a flag and an environment variable."""

    dataset: DatasetConfig = Field(
        description="The data set",
        examples=[{"path": "data/instructions.jsonl", "format": "messages"}],
    )
    crowd: list[CrowdModel] | str = Field(
        "paper",
        description="The crowd models, a crowd file, or `paper` for the paper's 19",
        examples=["paper", "crowd.yaml"],
    )
    reward_models: Annotated[list[str | RewardConfig], BeforeValidator(read_names)] = Field(
        [],
        description="A name is a score column of the data set, a mapping with a kind scores what "
        "the data set has not; left empty, those of the crowd file",
        examples=[
            ["skywork"],
            [{"name": "pmi", "kind": "likelihood", "model": "./models/smollm2"}],
        ],
    )
    embedder: EmbedderConfig = Field(EmbedderConfig(), description="How instructions are embedded")
    method: Method = Field("crowdselect", description="What rows are ranked by")
    direction: Direction = Field("top", description="The best rows, or the worst as a baseline")
    budget: Annotated[int | float, BeforeValidator(read_budget)] = Field(
        1000,
        description="Rows to choose, or a fraction of the eligible rows (0.05)",
        examples=[1000, 0.05],
    )
    budget_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens (instruction and kept answer) to choose, in place of rows",
        examples=[5_000_000],
    )
    tokenizer: str | None = Field(
        None,
        description="Tokenizer folder or hub id for budget_tokens; left empty, tokens are "
        "estimated as UTF-8 bytes / 4",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    clusters: int = Field(
        10, ge=0, description="Clusters to balance over; 0 or 1 for none", examples=[10]
    )
    weights: Weights = Field(
        (1.0, 1.0, 2.0, 0.0),
        description="Weights of difficulty, separability, stability and, where the crowd has a "
        "student, headroom (0 if left out); negative reverses one",
        examples=[[1, 1, 2]],
    )
    quota: Quota = Field(
        "equal", description="How the budget is split over the clusters", examples=["equal"]
    )
    response: str | list[str] | None = Field(
        None,
        description="best, random, random-of-top-5, a crowd model's name, or a list of names to "
        "choose the best among; left empty: best, and random for the method random",
        examples=["best", "random-of-top-5"],
    )
    min_scores: int = Field(2, ge=1, description="Scores a row needs to be eligible")
    reference_model: str | None = Field(
        None, description="Also give its score minus the crowd's mean, a difficulty of its own"
    )
    allow_short: bool = Field(False, description="Fewer rows than the budget are a warning")
    include: str | None = Field(
        None, description="File of ids, one a line: choose among these", examples=["keep.txt"]
    )
    exclude: str | None = Field(
        None, description="File of ids, one a line: never choose these", examples=["drop.txt"]
    )
    limit: int | None = Field(
        None, ge=1, description="Only the first rows, for a trial", examples=[200]
    )
    export: Annotated[list[Export], BeforeValidator(read_layouts)] = Field(
        [],
        description="Further layouts to write: sharegpt, alpaca, prompt-completion, pairs",
        examples=[["sharegpt", "pairs"]],
    )
    pairs: PairsConfig = Field(PairsConfig(), description="Preference pairs, with export: pairs")
    max_failure_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of a model's calls that may fail for reasons that lie outside the row; "
        "beyond it the stage stops",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of every draw")
    store: Place = Field(
        ".crowdselect",
        min_length=1,
        description="Folder or URL of the results kept",
        examples=["s3://bucket/crowdselect"],
    )
    out: Place = Field(
        "out",
        min_length=1,
        description="Folder or URL of what is written for you",
        examples=["s3://bucket/out"],
    )
    credentials_block: str | None = Field(
        None,
        description="Prefect Secret block with the credentials of s3:// places: a JSON object of "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the like; left empty, the environment's",
        examples=["bucket-credentials"],
    )
    workers: int = Field(2, ge=1, le=256, description="Shards computed at once; changes no result")
    shard_rows: int = Field(
        50_000, ge=1, description="Rows a shard, the grain of resuming; changes no result"
    )

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if not all(math.isfinite(w) for w in self.weights) or not any(self.weights):
            raise ValueError(
                f"weights: expected finite numbers that are not all 0, found {self.weights}"
            )
        return self

    @property
    def response_mode(self) -> str | list[str]:
        """How the kept answer is chosen; the random baseline draws it at random, as the paper's."""
        return self.response or ("random" if self.method == "random" else "best")

    def resolved(self, scores: bool = True) -> Self:
        """Return the config with its crowd read and checked and its reward models named.

        Args:
            scores: whether reward models are needed; without, those that are named are left out.

        Raises:
            CrowdError: the crowd file cannot be read or contradicts itself.
            ConfigError: no reward model is named, or one stands twice; the response is neither a
                mode nor a crowd model.
        """
        crowd, reward_models = self.crowd, self.reward_models
        if isinstance(crowd, str):
            file = read_crowd(crowd)
            crowd, reward_models = file.crowd, reward_models or file.reward_models
        if not scores:
            reward_models = []
        elif not reward_models:
            raise ConfigError(
                "no reward model is named: pass --reward-model NAME (a score column of the data "
                "set), or list reward_models in the config or the crowd file"
            )
        names = [reward_name(r) for r in reward_models]
        if len(set(names)) < len(names):
            raise ConfigError(f"reward_models: a name stands twice in {names}")
        models = check_crowd(list(crowd))
        response_mode(self.response_mode, [m.name for m in models if m.role == "crowd"])
        rewards = sorted(reward_models, key=reward_name)
        return self.model_copy(update={"crowd": models, "reward_models": rewards})

    @property
    def everyone(self) -> list[CrowdModel]:
        """The crowd and the student in name order; only a resolved config has it."""
        if isinstance(self.crowd, str):
            raise TypeError("SelectConfig.everyone: call resolved() first")
        return self.crowd

    @property
    def models(self) -> list[CrowdModel]:
        """The crowd in name order, without the student."""
        return [m for m in self.everyone if m.role == "crowd"]

    @property
    def student(self) -> CrowdModel | None:
        """The model that is to be trained, where the crowd file names one."""
        return next((m for m in self.everyone if m.role == "student"), None)

    @property
    def reward_names(self) -> list[str]:
        """The names of the reward models, in name order."""
        return [reward_name(r) for r in self.reward_models]


def reward_name(reward: str | RewardConfig) -> str:
    """Return the name of a reward model: its own, or the column's."""
    return reward if isinstance(reward, str) else reward.name
