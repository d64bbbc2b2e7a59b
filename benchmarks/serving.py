"""What a real vLLM server gives: through the flow, to a bare client, and beside transformers.

    make vllm-env                                    # once
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python -m benchmarks.serving [--dtype float32]

SmolLM2-135M-Instruct answers instructions of the sample, at temperature 0, on this machine.

1. `python -m flows.generate` beside a bare loop of aiohttp over the same server, prompts
   and number of requests in flight, in turn. Tokens/s of the flow are from its first request to
   its last committed answer; the whole command, with imports, Prefect and OUT, is told apart.
2. The managed engine (`kind: vllm`) beside transformers' `generate` in batches that arrive in
   order, on one thread and on two and in small and large batches, and beside our engine of kind
   transformers, which sorts by length. Starting a server and loading a model are told apart and
   not counted. The engine has a replica on each of two cores: by itself vLLM for CPU computes on
   the first and keeps the last for its other processes, which hardly use it.

Every way computes in the same dtype on the same two cores and may give as many tokens.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import torch
import yaml

from benchmarks.measure import machine, spread
from benchmarks.serving_engines import CONTEXT, PYTHON, beside_transformers
from crowdselect_core.config.engine import VllmEngineConfig
from crowdselect_core.generate.vllm.command import SERVED_NAME
from crowdselect_core.generate.vllm.host import Launch
from crowdselect_core.generate.vllm.server import VllmServer
from crowdselect_core.sample.variants import find_gguf, load_model, load_tokenizer, write_variants

INSTRUCTIONS = Path("crowdselect_core/sample/instructions.jsonl")
IN_FLIGHT = 32
KEY = "BENCHMARK_VLLM_KEY"


def texts_of(count: int) -> list[str]:
    """Return instructions spread over the sample, again with a number once they are used up."""
    lines = INSTRUCTIONS.read_text("utf-8").splitlines()
    rows = [json.loads(line)["instruction"] for line in lines]
    spread_out = [rows[i * 7 % len(rows)] for i in range(min(count, len(rows)))]
    return spread_out + [f"{i}. {rows[i % len(rows)]}" for i in range(len(spread_out), count)]


def engine_config(model: Path, dtype: str) -> VllmEngineConfig:
    """Return how the server is run; prompts that were asked before are computed again."""
    args = {"enforce_eager": True, "max_model_len": CONTEXT, "enable_prefix_caching": False}
    return VllmEngineConfig.model_validate(
        {
            "kind": "vllm", "model": str(model), "python": str(PYTHON), "dtype": dtype,
            "args": args, "concurrency": IN_FLIGHT, "environment": {"VLLM_CPU_KVCACHE_SPACE": "2"},
        }
    )  # fmt: skip


async def ask(server: VllmServer, texts: Sequence[str], tokens: int) -> int:
    """Ask with aiohttp alone, so many requests in flight; return the completion tokens."""
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {server.api_key}"},
        timeout=aiohttp.ClientTimeout(total=1800),
    ) as session:
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(text: str) -> int:
            messages = [{"role": "user", "content": text}]
            body = {"model": SERVED_NAME, "messages": messages, "temperature": 0}
            url = f"{server.base_url}/v1/chat/completions"
            async with gate, session.post(url, json=body | {"max_tokens": tokens}) as reply:
                reply.raise_for_status()
                return int((await reply.json())["usage"]["completion_tokens"])

        return sum(await asyncio.gather(*map(one, texts)))


def bare(server: VllmServer, texts: Sequence[str], tokens: int) -> float:
    """Return the tokens/s of the bare loop."""
    started = time.perf_counter()
    made = asyncio.run(ask(server, texts, tokens))
    return made / (time.perf_counter() - started)


def flow(server: VllmServer, texts: Sequence[str], tokens: int) -> tuple[float, float]:
    """Return the tokens/s of the flow while it asks, and those of the whole command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = (json.dumps({"instruction": text}) for text in texts)
        (folder / "data.jsonl").write_text("\n".join(rows), "utf-8")
        engine = {
            "kind": "openai", "base_url": f"{server.base_url}/v1", "model": SERVED_NAME,
            "api_key_env": KEY, "concurrency": IN_FLIGHT,
        }  # fmt: skip
        sampling = {"temperature": 0, "max_tokens": tokens}
        config = {
            "dataset": str(folder / "data.jsonl"),
            "crowd": [
                {"name": "m", "family": "f", "size": 1, "engine": engine, "sampling": sampling}
            ],
            "store": str(folder / "store"),
            "out": str(folder / "out"),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "flows.generate", "--config", str(folder / "config.yaml")]
        started = time.perf_counter()
        subprocess.run(
            command, check=True, env={**os.environ, KEY: server.api_key},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        whole = time.perf_counter() - started
        (note,) = (folder / "store").glob("generated/*/pace.json")
        pace = json.loads(note.read_text())
    if pace["calls"] != len(texts):
        raise SystemExit(f"the flow answered {pace['calls']} of {len(texts)} prompts")
    return pace["completion_tokens"] / pace["seconds"], pace["completion_tokens"] / whole


def through_the_flow(model: Path, dtype: str, texts: Sequence[str], args: Any) -> None:
    """Print the flow beside the bare loop."""
    bares, flows, wholes = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        launch = Launch("bench", engine_config(model, dtype), str(model), None)
        server = VllmServer(launch, gpus=(), log=log)
        with server:
            server.ready()
            bare(server, texts[:IN_FLIGHT], 16)  # warms it up, not counted
            for _ in range(args.rounds):
                bares.append(bare(server, texts, args.tokens))
                asking, whole = flow(server, texts, args.tokens)
                flows.append(asking)
                wholes.append(whole)
    ratio = statistics.median(f / b for f, b in zip(flows, bares, strict=True))
    print(f"one vLLM server, {len(texts)} prompts, {IN_FLIGHT} in flight, {args.rounds} rounds")
    print(f"  bare client loop: {spread(bares)} tokens/s")
    print(f"  through the flow: {spread(flows)} tokens/s ({spread(wholes)} by the whole command)")
    print(f"  flow / bare: {ratio:.3f} (target 0.95)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="of an answer of part 1, at most")
    parser.add_argument("--long", type=int, default=256, help="of an answer of part 2, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--part", choices=["flow", "transformers"], help="only this one")
    args = parser.parse_args()
    os.environ["CROWDSELECT_ALLOW_COMMANDS"] = "1"  # engine.python is a program of the config
    if not PYTHON.exists():
        parser.error(f"{PYTHON} is not there: make vllm-env")
    threads = f"{torch.get_num_threads()} threads, {args.dtype}"
    print(machine("aiohttp", "torch", "transformers"), threads, flush=True)
    texts = texts_of(args.prompts)
    with tempfile.TemporaryDirectory() as name:
        gguf = find_gguf()
        (model,) = write_variants(
            load_model(gguf, torch.bfloat16), load_tokenizer(gguf), Path(name), [None]
        )
        if args.part != "transformers":
            through_the_flow(model, args.dtype, texts, args)
        if args.part != "flow":
            beside_transformers(model, args.dtype, texts, args)


if __name__ == "__main__":
    main()
