"""What a live evaluation needs to know: the models that answer, the benchmarks, the judges."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen, Named
from crowdselect_core.config.benchmarks import (
    NAME,
    BenchmarkBase,
    CommandBenchmark,
    HeldoutLossBenchmark,
    LmEvalBenchmark,
    RewardWinRateBenchmark,
)
from crowdselect_core.config.engine import (
    EngineConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.fields import Place
from crowdselect_core.config.flags import Flag
from crowdselect_core.errors import ConfigError

LocalEngine = Annotated[VllmEngineConfig | TransformersEngineConfig, Field(discriminator="kind")]
ArenaVersion = Literal["v0.1", "v2"]


class VerdictSampling(SamplingConfig):
    """How a judge's verdict is sampled: the likeliest one, unless told otherwise."""

    temperature: float = Field(
        0.0, ge=0, le=10, description="Sampling temperature; 0: the likeliest token"
    )
    max_tokens: int = Field(
        4096,
        ge=1,
        description="Most tokens of a verdict, the judge's thinking included; a verdict that is "
        "cut counts as unparsed",
    )


class JudgeConfig(Frozen):
    """An LLM that grades answers or compares them."""

    name: str = Field(
        pattern=NAME,
        description="Name of the judge: in the leaderboard and in the names of its files",
        examples=["gpt-4.1"],
    )
    engine: EngineConfig = Field(
        description="What runs the judge", examples=[{"kind": "openai", "model": "gpt-4.1"}]
    )
    revision: str | None = Field(None, description="Commit, tag or branch of its hub id")
    sampling: VerdictSampling = Field(VerdictSampling(), description="How its verdicts are sampled")
    chat_template_kwargs: dict[str, Any] = Field({}, description="Arguments of the chat template")

    @model_validator(mode="after")
    def _one_verdict(self) -> Self:
        if self.sampling.n != 1:
            raise ValueError("sampling.n: expected 1, a judge gives one verdict")
        return self


class EvaluatedModel(Named):
    """A model that answers beside the trained one and its base."""

    name: str = Field(
        min_length=1,
        description="Name of the model in the leaderboard; a bare name is also its folder or hub "
        "id",
        examples=["Qwen/Qwen2.5-3B-Instruct"],
    )
    model: str | None = Field(None, description="Folder or hub id; when empty, the name")
    revision: str | None = Field(None, description="Commit, tag or branch of its hub id")
    engine: EngineConfig | None = Field(
        None, description="What runs it, e.g. an endpoint; when empty, evaluation.engine"
    )
    chat_template_kwargs: dict[str, Any] = Field({}, description="Arguments of the chat template")
    system_prompt: str | None = Field(None, description="Precedes every prompt")

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        told = self.engine.model if self.engine is not None else None
        if told is not None and self.model is not None and told != self.model:
            raise ValueError(
                f"model is {self.model!r} and engine.model {told!r}: expected one of them"
            )
        return self

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        return {"name": name}


class AnsweredBenchmark(BenchmarkBase):
    """What the benchmarks have whose questions the models answer in words."""

    path: Place = Field(
        min_length=1,
        description="Folder of the benchmark, which you bring: question.jsonl, model_answer/ and "
        "the like; local or any fsspec URL",
        examples=["data/mt_bench"],
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=10,
        description="Sampling temperature of the answers; when empty, the benchmark's own",
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Most tokens of an answer; when empty, the benchmark's own"
    )


class PairwiseBenchmark(AnsweredBenchmark):
    """Your own prompts: every model is compared with the base model, in both orders."""

    kind: Literal["pairwise"] = Field(description="pairwise: your own prompts, against the base")
    path: Place = Field(
        min_length=1,
        description="JSON Lines of prompts: {messages: [...]}, or {prompt: ...}, or {instruction: "
        "...}, the first that a line has;"
        " id (or question_id, uid) and category as wanted",
        examples=["my_prompts.jsonl"],
    )
    baseline: str | None = Field(
        None,
        min_length=1,
        description="Model that all others are compared with; when empty, the base model",
    )


class MtBenchBenchmark(AnsweredBenchmark):
    """MT-Bench: 80 questions of two turns, graded one by one or compared in pairs."""

    kind: Literal["mt-bench"] = Field(description="mt-bench: MT-Bench, as FastChat lays it out")
    mode: Literal["single", "pairwise"] = Field(
        "single", description="single: grades from 1 to 10; pairwise: against the baseline"
    )
    baseline: str | None = Field(
        None,
        min_length=1,
        description="pairwise: model that all others are compared with; when empty, the base model",
    )


class ArenaHardBenchmark(AnsweredBenchmark):
    """Arena-Hard: every model is compared with a baseline, in both orders."""

    kind: Literal["arena-hard"] = Field(description="arena-hard: Arena-Hard v0.1 or v2")
    version: ArenaVersion = Field("v0.1", description="Version of the benchmark")
    baseline: str | None = Field(
        None,
        min_length=1,
        description="Model that all others are compared with: one that has answers in "
        "model_answer/, or one that is evaluated; when empty, the benchmark's own",
        examples=["gpt-4-0314"],
    )


BenchmarkConfig = Annotated[
    HeldoutLossBenchmark
    | PairwiseBenchmark
    | MtBenchBenchmark
    | ArenaHardBenchmark
    | LmEvalBenchmark
    | RewardWinRateBenchmark
    | CommandBenchmark,
    Field(discriminator="kind"),
]
JUDGED = (PairwiseBenchmark, MtBenchBenchmark, ArenaHardBenchmark)


class EvaluationConfig(Frozen):
    """Evaluation of the trained model, its base and others by benchmarks and judges."""

    engine: LocalEngine | None = Field(
        None,
        description="How the models answer that run here; its model is left empty. When empty, "
        "vllm where it can be imported, else transformers",
        examples=[{"kind": "transformers", "dtype": "float32"}],
    )
    adapter: Literal["merge", "lora"] = Field(
        "merge",
        description="How a LoRA adapter is run: merged into its base model, or served by vLLM as "
        "LoRA",
    )
    models: list[EvaluatedModel] = Field(
        [],
        description="Models that are evaluated beside the trained one and its base",
        examples=[["Qwen/Qwen2.5-7B-Instruct"]],
    )
    benchmarks: list[BenchmarkConfig] = Field(
        [],
        description="What the models are measured by",
        examples=[[{"kind": "mt-bench", "path": "data/mt_bench"}]],
    )
    judges: list[JudgeConfig] = Field(
        [],
        description="LLMs that judge the answers; each has results of its own",
        examples=[[{"name": "gpt-4.1", "engine": {"kind": "openai", "model": "gpt-4.1"}}]],
    )
    calibration: int = Field(
        20,
        ge=0,
        le=200,
        description="Pairs of answers of known order that every judge compares first, of the "
        "embedded sample, each in both orders; 0: none",
    )
    min_accuracy: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Share of these comparisons that a judge must get right; below it a warning",
    )
    max_cost: Annotated[float | None, Flag("MONEY")] = Field(
        None,
        ge=0,
        description="Most that answers and verdicts may cost at the prices of the engines, the "
        "crowd's answers to held-out prompts and their scores among them; a higher forecast is "
        "refused before anything is asked",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.engine is not None and self.engine.model is not None:
            raise ValueError(
                f"engine.model: expected nothing, found {self.engine.model!r}: the engine runs "
                "every model; name models in evaluation.models"
            )
        names = [judge.name for judge in self.judges]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(f"judges: {twice[0]!r} stands twice: give each a name of its own")
        seen: dict[str, list[BenchmarkConfig]] = {}
        for benchmark in self.benchmarks:
            before = seen.setdefault(benchmark.name or benchmark.kind, [])
            before.append(benchmark)
            if len(before) > 1 and not _share_folder(before):
                raise ValueError(
                    f"benchmarks: {(benchmark.name or benchmark.kind)!r} stands twice: give one of "
                    "them a name; only mt-bench may, once single and once pairwise, with the same "
                    "path, limit, temperature and max_tokens"
                )
        judged = [b.kind for b in self.benchmarks if isinstance(b, JUDGED)]
        if judged and not self.judges:
            raise ValueError(f"benchmark {judged[0]} needs a judge: list one in judges")
        return self

    @property
    def calibrated_judges(self) -> list[JudgeConfig]:
        """The judges that are calibrated: all that a benchmark asks."""
        judged = any(isinstance(b, JUDGED) for b in self.benchmarks)
        return self.judges if judged and self.calibration else []


def _share_folder(benchmarks: list[BenchmarkConfig]) -> bool:
    """Tell whether benchmarks of one name write the same questions and answers in OUT."""
    both = [b for b in benchmarks if isinstance(b, MtBenchBenchmark)]
    modes = {b.mode for b in both}
    alike = {(b.path, b.limit, b.temperature, b.max_tokens) for b in both}
    return len(both) == len(benchmarks) == len(modes) and len(alike) == 1


def required(evaluation: EvaluationConfig | None) -> EvaluationConfig:
    """Return the section `evaluation`.

    Raises:
        ConfigError: the config has none, or it has no benchmark.
    """
    if evaluation is None or not evaluation.benchmarks:
        raise ConfigError(
            "evaluation.benchmarks is missing: name benchmarks in the config file, e.g. "
            "'evaluation: {benchmarks: [{kind: mt-bench, path: data/mt_bench}], judges: [...]}', "
            "or pass --judgments PATH (judgment files of MT-Bench or Arena-Hard)"
        )
    return evaluation
