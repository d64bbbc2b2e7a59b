"""What stands for vLLM in tests of its servers: the test endpoint, under vLLM's name."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from command import ROOT

from crowdselect_core.config.engine import VllmEngineConfig

# What `python -m vllm.entrypoints.openai.api_server` is here: it notes its start and serves. Where
# HOLD names a file, it answers no more than FREE requests before that file is there.
STAND_IN = """
import asyncio, json, os, sys
from pathlib import Path
from crowdselect_core.testing.faulty_endpoint import FaultyEndpoint, read_options

FREE = 5

class StandIn(FaultyEndpoint):
    async def _reply(self, request):
        while "HOLD" in os.environ and self.asked > FREE and not Path(os.environ["HOLD"]).exists():
            await asyncio.sleep(0.05)
        return await super()._reply(request)

def word(option):
    return sys.argv[sys.argv.index(option) + 1]

async def serve():
    key = os.environ["VLLM_API_KEY"]
    words = ["--model", word("--served-model-name"), f"--require-key={key}"]
    options, _ = read_options([*words, *os.environ["WORDS"].split()])
    await StandIn(options).start(int(word("--port")), word("--host"))
    told = {"pid": os.getpid(), "host": word("--host"), "key": key}
    told["ray"] = [name for name in os.environ if name.startswith("RAY_")]
    told["gpus"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with Path(os.environ["STARTS"]).open("a") as starts:
        starts.write(json.dumps(told) + "\\n")
    await asyncio.Event().wait()

asyncio.run(serve())
"""


@dataclass(frozen=True)
class Start:
    """One start of a server: its process, address, key and GPUs, and what it is told of Ray."""

    pid: int
    host: str
    key: str
    ray: list[str]
    gpus: str


class StandIn:
    """An interpreter with something that goes by the name of vLLM, and the servers it started."""

    def __init__(self, folder: Path) -> None:
        self._starts, self.python = folder / "starts", folder / "python"
        place = folder / "vllm" / "entrypoints" / "openai"
        place.mkdir(parents=True)
        for package in (place, *place.parents[:2]):
            (package / "__init__.py").touch()
        (place / "api_server.py").write_text(STAND_IN)
        words = f'PYTHONPATH="{folder}:{ROOT}" exec "{sys.executable}" "$@"'
        self.python.write_text(f"#!/bin/sh\n{words}\n")
        self.python.chmod(0o755)

    def engine(self, *words: str, environment: dict[str, str] | None = None, **keys: Any) -> Any:
        """Return the entry of an engine in a config: vLLM that this stands for."""
        told = {"STARTS": str(self._starts), "WORDS": " ".join(words), **(environment or {})}
        return {"kind": "vllm", "python": str(self.python), "environment": told, **keys}

    def config(self, *words: str, **keys: Any) -> VllmEngineConfig:
        """Return the config of an engine."""
        return VllmEngineConfig.model_validate({"model": "m", **self.engine(*words, **keys)})

    @property
    def servers(self) -> list[Start]:
        """The servers, in the order in which they were ready."""
        lines = self._starts.read_text().splitlines() if self._starts.exists() else []
        return [Start(**json.loads(line)) for line in lines]

    @property
    def starts(self) -> list[int]:
        """The process ids of the servers, in the order of their starts."""
        return [server.pid for server in self.servers]

    @property
    def alive(self) -> list[int]:
        """The servers that run."""
        return [n for n in self.starts if psutil.pid_exists(n)]
