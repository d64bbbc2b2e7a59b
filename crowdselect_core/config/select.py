"""What a selection needs to know: frozen pydantic models, drawn as forms by the Prefect UI.

Names follow Hugging Face, TRL and vLLM where these have one.
"""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from crowdselect_core.config.choice import ChoiceConfig
from crowdselect_core.config.evaluation import EvaluationConfig
from crowdselect_core.config.executor import ExecutorConfig
from crowdselect_core.config.experiment import ExperimentConfig
from crowdselect_core.config.export import Export, PairsConfig
from crowdselect_core.config.fields import (
    OwnPlace,
    read_layouts,
)
from crowdselect_core.config.finetune import REPOSITORY, TrainingConfig
from crowdselect_core.config.flags import (
    EVALUATION,
    EXPERIMENT,
    PUSH,
    REPORT,
    SELECTION,
    TRAINING,
    Flag,
)
from crowdselect_core.config.heldout import HeldoutConfig, SubsampleConfig
from crowdselect_core.config.metric_weights import check_weights
from crowdselect_core.config.quality import QualityConfig
from crowdselect_core.config.response_mode import MODES

Layouts = Annotated[list[Export], BeforeValidator(read_layouts)]


class SelectConfig(ChoiceConfig):
    """Everything that a selection needs to know; each key is an environment variable too."""

    export: Annotated[Layouts, Flag("LAYOUT"), SELECTION] = Field(
        [],
        description="Further layouts to write: sharegpt, alpaca, prompt-completion, pairs; "
        "llamafactory: train.yaml, the recipe of `training` in LLaMA-Factory's keys",
        examples=[["sharegpt", "pairs"]],
    )
    pairs: Annotated[PairsConfig, SELECTION] = Field(
        PairsConfig(), description="Preference pairs, written with the layout pairs"
    )
    figures: Annotated[bool, Flag(), SELECTION] = Field(
        False,
        description="Write OUT/figures: the figures of the selection, or of the experiment, as SVG "
        "and PNG; a few seconds of processor time",
    )
    push_to: Annotated[str | None, Flag("ORG/NAME"), PUSH] = Field(
        None,
        pattern=f"^{REPOSITORY}$",
        description="Repository of the Hugging Face hub to which the selection is uploaded as a "
        "data set with its card, with the token of HF_TOKEN; a new one is private. With --dry-run "
        "the card is written to OUT and nothing is uploaded",
        examples=["org/name"],
    )
    report: Annotated[bool | None, Flag(), REPORT] = Field(
        None,
        description="Write report.html, a page that shows what was chosen and why, or what an "
        "experiment found; when empty, not of a selection from more than 3,000,000 rows, all of "
        "which it holds in memory; see docs/report.md",
    )
    quality: Annotated[QualityConfig | None, SELECTION] = Field(
        None, description="Quality gates before the selection; see docs/quality.md"
    )
    training: Annotated[TrainingConfig | None, TRAINING] = Field(
        None, description="Fine-tuning on the selection, which flows.finetune runs"
    )
    evaluation: Annotated[EvaluationConfig | None, EVALUATION] = Field(
        None, description="Evaluation of the trained model, which flows.evaluate runs"
    )
    heldout: HeldoutConfig | None = Field(
        None, description="Instructions that are set aside for an evaluation and never selected"
    )
    subsample: SubsampleConfig | None = Field(
        None,
        description="A random part of the rows, drawn after the held-out ones are set aside; the "
        "others are left out. flows.experiment draws one of each replicate",
        examples=[{"share": 0.8}],
    )
    experiment: Annotated[ExperimentConfig | None, EXPERIMENT] = Field(
        None, description="A grid of selections that flows.experiment compares"
    )
    max_failure_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of a model's answers or scores, those already in the store included, "
        "that may be missing because calls failed for reasons outside the row; above it the run "
        "ends. Also the share of the answers to a task of lm-eval that an engine may refuse for "
        "good",
    )
    seed: Annotated[int, Flag("N"), SELECTION] = Field(
        0, ge=0, le=2**32 - 1, description="Seed of every random draw"
    )
    store: Annotated[OwnPlace, Flag("PATH_OR_URL")] = Field(
        ".crowdselect",
        min_length=1,
        description="Folder or URL of the store, where results are cached between runs",
        examples=["s3://bucket/crowdselect"],
    )
    out: Annotated[OwnPlace, Flag("PATH_OR_URL")] = Field(
        "out",
        min_length=1,
        description="Folder or URL where the results of this run are written",
        examples=["s3://bucket/out"],
    )
    credentials_block: str | None = Field(
        None,
        description="Prefect Secret block with the credentials of s3:// URLs: a JSON object of "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the like; when empty, the environment's",
        examples=["bucket-credentials"],
    )
    executor: Annotated[ExecutorConfig, Flag("threads|ray")] = Field(
        ExecutorConfig(),
        description="Where the parts of a stage are computed: threads of this process (threads), "
        "or a Ray cluster (ray), by name or as a mapping; changes no result. See docs/scaling.md",
        examples=[{"kind": "ray", "address": "10.0.0.1:6379"}],
    )
    workers: Annotated[int, Flag("N")] = Field(
        2, ge=1, le=256, description="Shards computed at once; changes no result"
    )
    shard_rows: Annotated[int, Flag("N")] = Field(
        50_000,
        ge=1,
        description="Rows of a shard, the unit of resuming; changes no result",
    )

    @model_validator(mode="after")
    def _sane(self) -> Self:
        check_weights(self.weights)
        if self.executor.kind == "ray" and self.credentials_block is not None:
            raise ValueError(
                "credentials_block: with executor ray every node has the credentials in its own "
                "environment (AWS_*, or the role of the machine): leave credentials_block out"
            )
        if "llamafactory" in self.export and self.training is None:
            raise ValueError(
                "export llamafactory writes the recipe of `training`: add training: "
                "{base_model: NAME} to the config file"
            )
        return self

    @property
    def wants_pairs(self) -> bool:
        """Whether preference pairs are written: asked for, read by the recipe, or uploaded."""
        on_pairs = self.training is not None and self.training.on_pairs
        recipe = "llamafactory" in self.export and on_pairs
        return "pairs" in self.export or recipe or (self.push_to is not None and self._has_two)

    @property
    def _has_two(self) -> bool:
        """Whether more than one model's answers may be kept, as a preference pair needs."""
        mode = self.response_mode
        return mode in MODES if isinstance(mode, str) else len(set(mode)) > 1
