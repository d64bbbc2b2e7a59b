"""What an evaluation needs to know: the judgments to compute results from, and the benchmark."""

from typing import Annotated, Literal, Self

from pydantic import Field

from crowdselect_core.config.base import Frozen
from crowdselect_core.config.fields import Place
from crowdselect_core.config.flags import Flag
from crowdselect_core.errors import ConfigError

BenchmarkKind = Literal["mt-bench", "arena-hard"]


class EvaluateConfig(Frozen):
    """Results of a benchmark, computed from judgment files; no model is asked."""

    judgments: Annotated[Place | None, Flag("PATH_OR_URL")] = Field(
        None,
        description="File or folder of judgments (local or any fsspec URL). MT-Bench: "
        "*_single.jsonl or *_pair.jsonl; Arena-Hard: MODEL.jsonl, or "
        "model_judgment/JUDGE/MODEL.jsonl",
        examples=["data/mt_bench/model_judgment", "s3://bucket/arena-hard-v2.0"],
    )
    benchmark: Annotated[BenchmarkKind | None, Flag("NAME")] = Field(
        None, description="mt-bench or arena-hard (v0.1 or v2, as the rows say)"
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
    seed: Annotated[int, Flag("N")] = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the bootstrap"
    )
    out: Annotated[Place, Flag("PATH_OR_URL")] = Field(
        "out",
        min_length=1,
        description="Folder or URL where leaderboard.parquet is written",
        examples=["s3://bucket/out"],
    )
    credentials_block: str | None = Field(
        None,
        description="Prefect Secret block with the credentials of s3:// places: a JSON object of "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the like; when empty, the environment's",
        examples=["bucket-credentials"],
    )

    def resolved(self) -> Self:
        """Return the config, if it says what to compute.

        Raises:
            ConfigError: no judgments or no benchmark, or what the benchmark has no use for.
        """
        if self.judgments is None:
            raise ConfigError(
                "judging live models is not part of this version: pass --judgments PATH (judgment "
                "files of MT-Bench or Arena-Hard)"
            )
        if self.benchmark is None:
            raise ConfigError("pass --benchmark mt-bench or --benchmark arena-hard")
        if self.benchmark == "mt-bench" and self.style is not None:
            raise ConfigError("style control is a part of arena-hard: leave --style out")
        return self
