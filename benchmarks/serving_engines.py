"""Part 2 of `benchmarks.serving`: the managed vLLM engine beside transformers, in this process."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import spread
from crowdselect_core.config.engine import (
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.generate.base import Answer, Request
from crowdselect_core.generate.transformers.engine import TransformersEngine
from crowdselect_core.generate.vllm.engine import VllmEngine
from crowdselect_core.store.cache.key_index import cell_key

PYTHON = Path(".venv-vllm/bin/python")
CONTEXT, CORES = 1024, 2
ARRIVAL = ((16, 1), (16, CORES), (64, CORES))  # answers a batch and threads, of transformers


def replicated(model: Path, dtype: str) -> VllmEngineConfig:
    """Return how the managed engine is run: a replica a core, the default number in flight."""
    return VllmEngineConfig.model_validate(
        {
            "kind": "vllm", "model": str(model), "python": str(PYTHON), "dtype": dtype,
            "data_parallel_size": CORES, "args": {"enforce_eager": True, "max_model_len": CONTEXT},
            "environment": {
                "VLLM_CPU_KVCACHE_SPACE": "2",
                "VLLM_CPU_OMP_THREADS_BIND": "|".join(map(str, range(CORES))),
            },
        }
    )  # fmt: skip


class Timed:
    """Requests and answers of an engine, timed from when the second request is asked for.

    An engine takes the first request to see whether there is work, and the second when its model
    is ready.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self.tokens, self.started, self.ready = 0, time.perf_counter(), 0.0

    def requests(self) -> Iterator[Request]:
        for place, text in enumerate(self._texts):
            if place == 1:
                self.ready = time.perf_counter()
            yield Request(cell_key(text.encode()), ({"role": "user", "content": text},), 0)

    def done(self, answer: Answer) -> None:
        if answer.error is not None:
            raise SystemExit(f"an answer failed: {answer.error}")
        self.tokens += answer.completion_tokens or 0


def managed(model: Path, dtype: str, texts: Sequence[str], tokens: int) -> tuple[float, float]:
    """Return the tokens/s of the managed engine, and the seconds that its server took to start."""
    sampling = SamplingConfig(temperature=0, max_tokens=tokens)
    engine, timed = VllmEngine("managed", replicated(model, dtype), sampling), Timed(texts)
    with closing(engine):
        engine.run(timed.requests(), timed.done)
        seconds = time.perf_counter() - timed.ready
    return timed.tokens / seconds, timed.ready - timed.started


def ours(model: Path, dtype: str, texts: Sequence[str], tokens: int) -> float:
    """Return the tokens/s of the engine of kind transformers, its model loaded."""
    config = TransformersEngineConfig.model_validate(
        {"kind": "transformers", "model": str(model), "dtype": dtype}
    )
    engine = TransformersEngine("local", config, SamplingConfig(temperature=0, max_tokens=tokens))
    torch.set_num_threads(CORES)
    engine.run(Timed(texts[:1]).requests(), lambda answer: None)  # loads the model
    timed = Timed(texts)
    engine.run(timed.requests(), timed.done)
    return timed.tokens / (time.perf_counter() - timed.started)


@torch.inference_mode()
def arrival(
    model: Any, tokenizer: Any, texts: Sequence[str], tokens: int, size: int, threads: int
) -> float:
    """Return the tokens/s of transformers' generate in batches as they arrive."""
    torch.set_num_threads(threads)
    made, started = 0, time.perf_counter()
    for start in range(0, len(texts), size):
        chats = [[{"role": "user", "content": t}] for t in texts[start : start + size]]
        batch = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, return_tensors="pt", return_dict=True,
            padding=True,
        )  # fmt: skip
        out = model.generate(**batch, max_new_tokens=tokens, do_sample=False)
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in row
            made += row.index(tokenizer.eos_token_id) + 1 if ended else len(row)
    return made / (time.perf_counter() - started)


def beside_transformers(model: Path, dtype: str, texts: Sequence[str], args: Any) -> None:
    """Print the managed engine beside transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(model), padding_side="left")
    plain: Any = AutoModelForCausalLM.from_pretrained(str(model), dtype=getattr(torch, dtype))
    starts: list[float] = []

    def vllm() -> float:
        rate, start = managed(model, dtype, texts, args.long)
        starts.append(start)
        return rate

    ways: dict[str, Callable[[], float]] = {f"managed vLLM, {CORES} replicas": vllm}
    for size, threads in ARRIVAL:
        name = f"transformers, batches of {size} as they arrive, threads {threads}"
        ways[name] = partial(arrival, plain.eval(), tokenizer, texts, args.long, size, threads)
    ways[f"our engine of kind transformers, threads {CORES}"] = partial(
        ours, model, dtype, texts, args.long
    )
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            rates[name].append(way())
            print(f"  ({name}: {rates[name][-1]:.0f})", flush=True)
    print(f"{len(texts)} prompts, at most {args.long} tokens each, {args.rounds} rounds")
    first = next(iter(rates.values()))
    for name, rate in rates.items():
        ratio = statistics.median(f / r for f, r in zip(first, rate, strict=True))
        print(f"  {name}: {spread(rate)} tokens/s; managed vLLM / this {ratio:.2f}")
    print(f"  the server took {spread(starts)} s to start", flush=True)
