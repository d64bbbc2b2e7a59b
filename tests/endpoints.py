"""A real process with the endpoint that has faults on request, and what it was asked."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from command import ROOT
from servers import quiet_environment


@dataclass
class Endpoint:
    """A running endpoint."""

    url: str
    log: Path
    process: "subprocess.Popen[str]"

    @property
    def asked(self) -> Counter[str]:
        """How often each (model, prompt, seed) was asked for."""
        return Counter(self.log.read_text().splitlines() if self.log.exists() else [])

    def of(self, model: str) -> Counter[str]:
        """What was asked of one model."""
        return Counter({k: n for k, n in self.asked.items() if json.loads(k)["model"] == model})

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(folder: Path, *flags: str, port: int = 0) -> Iterator[Endpoint]:
    """Run the endpoint in a process of its own while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "requests.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "crowdselect_core.testing.faulty_endpoint", "--port", str(port),
         "--requests", str(log), *flags],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=quiet_environment(folder),
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield Endpoint(process.stdout.readline().strip(), log, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def model(name: str, size: float, url: str, **keys: Any) -> dict[str, Any]:
    """Return a crowd model's entry that asks an endpoint."""
    engine = {"kind": "openai", "base_url": url, "concurrency": 8, "max_retries": 1}
    engine |= keys.pop("engine", {})
    return {"name": name, "family": "f", "size": size, "engine": engine, **keys}


FUNCTION = {"name": "words", "kind": "function", "path": "my_checks:words", "workers": 1}
CHECKS = '''
import hashlib

def words(prompts, completions, **columns):
    """A score that differs from answer to answer and is the same every time."""
    text = completions[0][0]["content"]
    return [len(text.split()) + int(hashlib.sha256(text.encode()).hexdigest()[:6], 16) / 2**24]
'''


def write_work(folder: Path, rows: int, crowd: list[dict[str, Any]], **keys: Any) -> Path:
    """Write instructions, a config and a reward function into a folder; return the config."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder, range(rows))
    (folder / "my_checks.py").write_text(CHECKS)
    path = folder / "config.yaml"
    config = {
        "dataset": "data.jsonl", "crowd": crowd, "reward_models": [FUNCTION],
        "budget": 5, "clusters": 2, "store": "store", "out": "out", **keys,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(config))
    return path


def write_rows(folder: Path, numbers: range, extra: list[str] | None = None) -> None:
    """Write the instructions of a test."""
    topics = ["a river", "the moon", "good bread", "old maps", "a bridge", "tax law"]
    lines = [f'{{"instruction": "Say {i} words about {topics[i % 6]}."}}' for i in numbers]
    lines += [f'{{"instruction": "{text}"}}' for text in extra or []]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
