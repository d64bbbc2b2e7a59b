"""The benchmarks of an evaluation that need no judge: held-out loss, reward, lm-eval, a command."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from crowdselect_core.config.base import Frozen, refuse_credentials
from crowdselect_core.config.command import checked_command
from crowdselect_core.config.fields import LocalPath, Place
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.errors import nearest

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
PLACEHOLDERS = ("model_dir", "output_dir", "seed")  # of a benchmark's command
TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")  # never a path: lm-eval would load that


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class BenchmarkBase(Frozen):
    """What all benchmarks have."""

    name: str | None = Field(
        None,
        pattern=NAME,
        description="Name in the leaderboard and of the folder in OUT; when empty, the kind. Two "
        "benchmarks of one kind need two names",
    )
    limit: int | None = Field(
        None, ge=1, description="Only the first N questions or rows, for a trial"
    )


class HeldoutLossBenchmark(BenchmarkBase):
    """Loss on the answers of the held-out rows, in nats per token."""

    kind: Literal["heldout-loss"] = Field(description="heldout-loss: loss on the held-out rows")
    max_length: int | None = Field(
        None,
        ge=8,
        description="Most tokens of a row; a longer one is left out and counted. When empty, "
        "training.max_length",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Number format that the loss is computed in, on every device"
    )


class RewardWinRateBenchmark(BenchmarkBase):
    """How often a reward model prefers the answer of a model to that of the base model."""

    kind: Literal["reward-win-rate"] = Field(
        description="reward-win-rate: a reward model compares with the base model"
    )
    reward_model: str | RewardConfig = Field(
        description="Reward model that no selection uses: a mapping as in reward_models; or the "
        "name of one of reward_models",
        examples=[
            {"name": "skywork", "kind": "classifier", "model": "Skywork/Skywork-Reward-V2-Qwen3-8B"}
        ],
    )
    baseline: str | None = Field(
        None,
        min_length=1,
        description="Model that all others are compared with; when empty, the base model",
    )
    path: Place | None = Field(
        None,
        min_length=1,
        description="JSON Lines of prompts, as of pairwise; when empty, the held-out prompts",
        examples=["my_prompts.jsonl"],
    )
    temperature: float = Field(
        0.0, ge=0, le=10, description="Sampling temperature of the answers; 0: the likeliest token"
    )
    max_tokens: int = Field(1024, ge=1, description="Most tokens of an answer")
    allow_selector: bool = Field(
        False,
        description="Allow a reward model by which the selection was made; the result is marked "
        "as no evidence. Otherwise it is refused",
    )


class LmEvalBenchmark(BenchmarkBase):
    """Tasks of lm-evaluation-harness, run by the package lm-eval."""

    kind: Literal["lm-eval"] = Field(description="lm-eval: tasks of lm-evaluation-harness")
    tasks: Annotated[list[str], BeforeValidator(_listed)] = Field(
        min_length=1, description="Names of the tasks", examples=[["ifeval", "gsm8k"]]
    )
    include_path: LocalPath | None = Field(
        None,
        min_length=1,
        description="Folder with tasks of your own; code in it runs, as lm-eval runs it, where "
        "CROWDSELECT_ALLOW_COMMANDS=1",
        examples=["my_tasks/"],
    )
    data_files: dict[str, LocalPath | dict[str, LocalPath]] = Field(
        {},
        description="Local JSON Lines in place of the hub's data, by task: a file (of the split "
        "train, as in datasets), or a file for each split",
        examples=[{"ifeval": "data/ifeval/input_data.jsonl"}],
    )
    use_engine: bool = Field(
        False,
        description="Have evaluation.engine (vLLM, say) answer for models whose weights are here, "
        "in place of lm-eval's transformers; endpoints always answer so. Only tasks that generate "
        "text",
    )
    num_fewshot: int | None = Field(
        None, ge=0, description="Examples in a prompt; when empty, the task's own number"
    )
    apply_chat_template: bool = Field(True, description="Ask through the chat template")
    fewshot_as_multiturn: bool = Field(
        True, description="Examples as turns of a conversation, with the chat template"
    )
    system_instruction: str | None = Field(None, description="Precedes every prompt")
    gen_kwargs: dict[str, Any] = Field(
        {},
        description="How answers are sampled, in place of the task's own",
        examples=[{"temperature": 0.7, "do_sample": True}],
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the weights; auto: as they are stored"
    )
    batch_size: int = Field(8, ge=1, description="Requests that are computed at once")
    nltk_data: LocalPath | None = Field(
        None,
        min_length=1,
        description="Folder of NLTK's data (tokenizers/punkt_tab), which ifeval needs where it "
        "cannot be downloaded",
        examples=["data/nltk_data"],
    )
    python: str | None = Field(
        None,
        min_length=1,
        description="Python of an environment that has lm-eval; when empty, the run's own. It "
        "runs where CROWDSELECT_ALLOW_COMMANDS=1",
        examples=[".venv-lm-eval/bin/python"],
    )

    @field_validator("tasks")
    @classmethod
    def _are_names(cls, tasks: list[str]) -> list[str]:
        for task in tasks:
            if not TASK.fullmatch(task):
                raise ValueError(
                    f"expected the name of a task, found {task[:80]!r}; tasks of your own are "
                    "found by include_path"
                )
        if twice := sorted({t for t in tasks if tasks.count(t) > 1}):
            raise ValueError(f"{twice[0]!r} stands twice")
        return tasks

    @property
    def files_by_split(self) -> dict[str, dict[str, str]]:
        """The files of `data_files` by task and split."""
        return {
            task: {"train": files} if isinstance(files, str) else files
            for task, files in self.data_files.items()
        }

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if unknown := sorted(set(self.data_files) - set(self.tasks)):
            raise ValueError(
                f"data_files: {unknown[0][:80]!r} is none of tasks{nearest(unknown[0], self.tasks)}"
            )
        refuse_credentials("lm-eval.gen_kwargs", self.gen_kwargs, "leave it out", ())
        return self


class CommandBenchmark(BenchmarkBase):
    """A command of yours that prints its results as JSON."""

    kind: Literal["command"] = Field(description="command: your own command prints the results")
    command: str = Field(
        min_length=1,
        description="The command, without a shell; {model_dir}, {output_dir} and {seed} as whole "
        "arguments. It runs where CROWDSELECT_ALLOW_COMMANDS=1",
        examples=["python /home/me/my_eval.py --model {model_dir}"],
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="What {seed} stands for")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        checked_command("command", "command", self.command, PLACEHOLDERS)
        if "{model_dir}" not in self.command:
            raise ValueError("command: expected {model_dir}, the folder of the model that it tests")
        if self.limit is not None:
            raise ValueError("limit: a command has none; give it an argument of its own")
        return self
