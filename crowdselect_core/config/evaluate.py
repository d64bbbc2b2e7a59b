"""What flows.evaluate needs to know: a selection, a training and an evaluation, or judgments."""

from typing import Annotated, Literal, Self

from pydantic import Field

from crowdselect_core.config.benchmarks import HeldoutLossBenchmark, RewardWinRateBenchmark
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.evaluation import BenchmarkConfig, required
from crowdselect_core.config.fields import Place
from crowdselect_core.config.finetuning import check_heldout
from crowdselect_core.config.flags import Flag
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError

BenchmarkKind = Literal["mt-bench", "arena-hard", "pairwise"]


class EvaluateConfig(SelectConfig):
    """Evaluation of a trained or a given model, or of judgment files."""

    # Judgments and a given model need none; whoever selects has asked `selects` before.
    dataset: DatasetConfig | None = Field(  # type: ignore[assignment]
        None,
        description="The data set of the selection that is trained on: a path, URL or hub id, or a "
        "mapping; not needed with model, judgments or training.train_file",
        examples=[{"path": "data/instructions.jsonl", "format": "messages"}],
    )
    model: Annotated[str | None, Flag("PATH")] = Field(
        None,
        min_length=1,
        description="Folder or hub id of a model that is evaluated in place of the trained one; "
        "nothing is selected or trained",
        examples=["out/model"],
    )
    judgments: Annotated[Place | None, Flag("PATH_OR_URL")] = Field(
        None,
        description="File or folder of judgments (local or any fsspec URL). MT-Bench: "
        "*_single.jsonl or *_pair.jsonl; Arena-Hard: MODEL.jsonl, or "
        "model_judgment/JUDGE/MODEL.jsonl",
        examples=["data/mt_bench/model_judgment", "s3://bucket/arena-hard-v2.0"],
    )
    benchmark: Annotated[BenchmarkKind | None, Flag("NAME")] = Field(
        None,
        description="Benchmark of the judgments: mt-bench, arena-hard (v0.1 or v2, as the rows "
        "say) or pairwise",
    )
    baseline: Annotated[str | None, Flag("MODEL")] = Field(
        None,
        min_length=1,
        description="Model that all others are compared with. Arena-Hard: when empty, the one of "
        "the rows or the benchmark's own; MT-Bench: count the pairs with this model alone",
        examples=["gpt-4-0314"],
    )
    official: Annotated[bool, Flag()] = Field(
        False,
        description="Intervals as the benchmark's own script gives them (of v2 the values as "
        "well); otherwise 95 % percentile bootstrap over questions",
    )
    questions: Annotated[Place | None, Flag("FILE")] = Field(
        None,
        description="question.jsonl of the benchmark, for results by category; when empty, the "
        "one beside the judgments, if it is there",
        examples=["data/mt_bench/question.jsonl"],
    )
    style: Annotated[Place | None, Flag("PATH_OR_URL")] = Field(
        None,
        description="Token and Markdown counts of Arena-Hard's answers, for style control: the "
        "folder model_answer/, or a parquet table; when empty, what lies beside the judgments",
        examples=["data/arena-hard-v2.0/model_answer"],
    )

    @property
    def trains(self) -> bool:
        """Whether a model is trained first, where the store has none."""
        return self.judgments is None and self.model is None and self.training is not None

    @property
    def selects(self) -> bool:
        """Whether a selection is made for the training."""
        return self.trains and self.training is not None and self.training.train_file is None

    @property
    def trains_on_file(self) -> bool:
        """Whether a model is trained on training.train_file."""
        return self.trains and not self.selects

    @property
    def needs_heldout(self) -> bool:
        """Whether a benchmark takes the held-out rows."""
        return self.asks_heldout or self.needs_heldout_answers

    @property
    def asks_heldout(self) -> bool:
        """Whether a benchmark asks the models the held-out prompts."""
        return any(
            isinstance(b, RewardWinRateBenchmark) and b.path is None for b in self._benchmarks
        )

    @property
    def needs_heldout_answers(self) -> bool:
        """Whether a benchmark takes answers to the held-out rows."""
        return any(isinstance(b, HeldoutLossBenchmark) for b in self._benchmarks)

    @property
    def _benchmarks(self) -> list[BenchmarkConfig]:
        if self.judgments is not None or self.evaluation is None:
            return []
        return self.evaluation.benchmarks

    def resolved(self, scores: bool = True) -> Self:
        """Return the config, if it says what to evaluate.

        Raises:
            ConfigError: neither judgments nor an evaluation, no model, no data set to train on, or
                what the benchmark has no use for.
            CrowdError: see `SelectConfig.resolved`.
        """
        if self.judgments is not None:
            self._check_judgments()
            return self
        evaluation = required(self.evaluation)
        self._check_live()
        if not (self.model or self.training or evaluation.models):
            raise ConfigError(
                "no model to evaluate: name one by --model PATH, in evaluation.models, or give the "
                "section training"
            )
        if self.trains_on_file:
            check_heldout(self.heldout, self.dataset)
        if not self.selects and not (self.needs_heldout and self.dataset is not None):
            return self
        if self.dataset is None:
            raise ConfigError(
                "dataset is missing: the model is trained on a selection of it; name one by "
                "--dataset, or a model that is trained already by --model PATH"
            )
        return super().resolved(scores)

    def _check_live(self) -> None:
        """Refuse what only the results of judgment files are computed by."""
        live = {"baseline": "; a benchmark of evaluation.benchmarks has a key baseline of its own"}
        for key in ("benchmark", "baseline", "official", "questions", "style"):
            if getattr(self, key):
                raise ConfigError(
                    f"{key}: counts for judgment files alone, and no judgments are given: leave it "
                    f"out, or pass --judgments PATH{live.get(key, '')}"
                )

    def _check_judgments(self) -> None:
        if self.model is not None:
            raise ConfigError(
                "model: nobody is asked where judgments are given, and the model would not be "
                "evaluated: leave --model or --judgments out"
            )
        if self.benchmark is None:
            raise ConfigError("pass --benchmark mt-bench, arena-hard or pairwise")
        if self.benchmark != "arena-hard" and self.style is not None:
            raise ConfigError("style control is a part of arena-hard: leave --style out")
