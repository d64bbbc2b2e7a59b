"""What is chosen from, and how: the first keys of a selection's config.

Nothing here reads a file but a crowd file that is named (`ChoiceConfig.resolved`).
"""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.crowd import PAPER, CrowdModel, check_crowd, read_crowd
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.fields import (
    LocalPath,
    Weights,
    read_budget,
    read_names,
    read_response,
)
from crowdselect_core.config.flags import (
    SCORES,
    SELECTION,
    Flag,
)
from crowdselect_core.config.method_models import (
    DeitaConfig,
    DirectScoreConfig,
    IfdConfig,
    InstagConfig,
    RdsConfig,
)
from crowdselect_core.config.methods import (
    FunctionConfig,
    LengthConfig,
    Method,
    TeacherConfig,
    check_teacher,
)
from crowdselect_core.config.metric_weights import WEIGHTS
from crowdselect_core.config.response_mode import response_mode
from crowdselect_core.config.reward import RewardConfig, reward_name
from crowdselect_core.errors import ConfigError

Direction = Literal["top", "bottom"]
Quota = Literal["equal", "proportional", "reference"]
Counted = Literal["row", "answer"]
RewardModels = Annotated[list[str | RewardConfig], BeforeValidator(read_names)]
Budget = Annotated[int | float, BeforeValidator(read_budget)]
Response = Annotated[str | list[str] | None, BeforeValidator(read_response)]


class ChoiceConfig(Frozen):
    """The data set and the crowd, what ranks the rows, and how many are chosen."""

    dataset: DatasetConfig = Field(
        description="The data set: a path, URL or hub id, or a mapping",
        examples=[{"path": "data/instructions.jsonl", "format": "messages"}],
    )
    crowd: Annotated[list[CrowdModel] | str, Flag("FILE.yaml")] = Field(
        PAPER,
        description="The models of the crowd, a crowd file, or `paper` for the paper's 19",
        examples=["paper", "crowd.yaml"],
    )
    reward_models: Annotated[RewardModels, Flag("NAME", "--reward-model"), SCORES] = Field(
        [],
        description="A name is a score column of the data set; a mapping with a kind is a model "
        "that scores what the data set has no score of; when empty, those of the crowd file",
        examples=[
            ["skywork"],
            [{"name": "pmi", "kind": "likelihood", "model": "./models/smollm2"}],
        ],
    )
    embedder: Annotated[EmbedderConfig, Flag("NAME"), SELECTION] = Field(
        EmbedderConfig(),
        description="How instructions become vectors: lexical (the default), column:NAME for a "
        "vector column, a sentence-transformers folder or hub id, or a mapping",
    )
    method: Annotated[Method, Flag("NAME"), SELECTION] = Field(
        "crowdselect",
        description="What ranks the rows: all metrics together (crowdselect), one of them, the "
        "reward score, chance, a rival of docs/method.md, column:NAME (any number of the data "
        "set), or module:function (a function of your own)",
        examples=["crowdselect", "length", "column:my_score"],
    )
    length: Annotated[LengthConfig, SELECTION] = Field(
        LengthConfig(), description="What the method length counts"
    )
    teacher: Annotated[TeacherConfig, SELECTION] = Field(
        TeacherConfig(), description="Whose answers the method teacher keeps"
    )
    ifd: Annotated[IfdConfig, SELECTION] = Field(
        IfdConfig(), description="By which model, and how, the method ifd measures"
    )
    deita: Annotated[DeitaConfig, SELECTION] = Field(
        DeitaConfig(), description="What the method deita multiplies, and its filter"
    )
    rds: Annotated[RdsConfig, SELECTION] = Field(
        RdsConfig(), description="The targets of the method rds+, and its model"
    )
    direct_score: Annotated[DirectScoreConfig, SELECTION] = Field(
        DirectScoreConfig(), description="The LLM that grades rows for the method direct-score"
    )
    instag: Annotated[InstagConfig, SELECTION] = Field(
        InstagConfig(), description="The LLM that tags instructions for the method instag"
    )
    function: Annotated[FunctionConfig, SELECTION] = Field(
        FunctionConfig(), description="How the method module:function is run"
    )
    direction: Annotated[Direction, Flag("top|bottom"), SELECTION] = Field(
        "top", description="Select the best rows, or the worst as a baseline"
    )
    budget: Annotated[Budget, Flag("N|FRACTION"), SELECTION] = Field(
        1000,
        description="Rows to select (200), or a fraction of the eligible rows (0.05)",
        examples=[1000, 0.05],
    )
    budget_tokens: Annotated[int | None, Flag("N"), SELECTION] = Field(
        None,
        ge=1,
        description="Tokens to select, of instruction and answer, instead of rows",
        examples=[5_000_000],
    )
    budget_tokens_of: Annotated[Counted, Flag("row|answer"), SELECTION] = Field(
        "row",
        description="What budget_tokens counts: instruction and answer, or the answer alone",
    )
    tokenizer: Annotated[str | None, Flag("NAME"), SELECTION] = Field(
        None,
        description="Tokenizer, a folder or hub id, that counts budget_tokens; when empty, tokens "
        "are estimated as UTF-8 bytes / 4",
        examples=["Qwen/Qwen2.5-7B-Instruct"],
    )
    clusters: Annotated[int, Flag("K"), SELECTION] = Field(
        10,
        ge=0,
        description="Clusters of instructions over which the budget is split; 0 or 1: no clusters",
        examples=[10],
    )
    weights: Annotated[Weights, Flag("D,S,T[,H]"), SELECTION] = Field(
        WEIGHTS,
        description="Weights of difficulty, separability, stability and, where the crowd has a "
        "student, headroom (0 if left out); a negative weight reverses a metric",
        examples=[[1, 1, 2]],
    )
    quota: Annotated[Quota, Flag("MODE"), SELECTION] = Field(
        "equal",
        description="Share of each cluster in the budget: the same, by its size, or as the paper's "
        "code does",
        examples=["equal"],
    )
    response: Annotated[Response, Flag("MODE"), SELECTION] = Field(
        None,
        description="Which answer is written: best, random, random-of-top-5, a crowd model's name, "
        "or several names (a,b) for the best of theirs; when empty: best, and random with the "
        "method random",
        examples=["best", "random-of-top-5"],
    )
    min_scores: Annotated[int, Flag("N"), SELECTION] = Field(
        2, ge=1, description="Scores that a row needs to be eligible"
    )
    reference_model: Annotated[str | None, Flag("NAME"), SELECTION] = Field(
        None,
        description="Crowd model of which a difficulty of its own is written: its score minus the "
        "crowd's mean",
    )
    allow_short: Annotated[bool, Flag(), SELECTION] = Field(
        False, description="Fewer eligible rows than the budget are a warning, not an error"
    )
    include: Annotated[LocalPath | None, Flag("FILE"), SELECTION] = Field(
        None,
        description="File of ids: select among these only; one id a line, or a parquet file with "
        "the column instruction_id",
        examples=["keep.txt"],
    )
    exclude: Annotated[LocalPath | None, Flag("FILE"), SELECTION] = Field(
        None, description="File of ids: never select these", examples=["drop.txt"]
    )
    limit: Annotated[int | None, Flag("N")] = Field(
        None, ge=1, description="Only the first N rows of the data set, for a trial", examples=[200]
    )

    @property
    def token_budget(self) -> str | None:
        """The budget in tokens, in words; None where it is rows or a share of them."""
        if self.budget_tokens is None:
            return None
        of = "answer tokens" if self.budget_tokens_of == "answer" else "tokens"
        return f"{self.budget_tokens:,} {of}"

    @property
    def response_mode(self) -> str | list[str]:
        """How the kept answer is chosen.

        The random baseline draws it at random, as the paper's; teacher takes its model's.
        """
        own = {"random": "random", "teacher": self.teacher.model}
        return self.response or own.get(self.method) or "best"

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
                "set; where it has one column of scores per model and no answers, any word, such "
                "as score), or list reward_models in the config or the crowd file"
            )
        rewarding = [reward_name(r) for r in reward_models]
        if len(set(rewarding)) < len(rewarding):
            raise ConfigError(f"reward_models: a name stands twice in {rewarding}")
        models = check_crowd(list(crowd))
        names = [m.name for m in models if m.role == "crowd"]
        if self.method == "teacher":
            check_teacher(self.teacher.model, self.response, names)
        response_mode(self.response_mode, names)
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
