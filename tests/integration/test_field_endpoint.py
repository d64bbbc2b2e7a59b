"""An endpoint that answers as real ones were reported to: one odd prompt among twenty good ones."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
import yaml
from command import Command
from servers import UP, answers, free_port, wait_until_ready

SCRIPT = Path(__file__).parents[3] / "shared" / "data" / "field" / "endpoint.py"
LIFE = 900  # seconds after which it ends by itself
GOOD = 20
RETRIES = 2

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason=f"no {SCRIPT.name} of the field")


@dataclass
class Field:
    """The running endpoint: its URL, and what it was asked."""

    url: str
    log: Path

    @property
    def asked(self) -> Counter[str]:
        """How often a prompt of each mode was asked ('': good ones)."""
        return Counter(json.loads(line)[2] for line in self.log.read_text().splitlines())


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    port, log = free_port(), tmp_path / "asked.jsonl"
    process = subprocess.Popen([sys.executable, str(SCRIPT), str(port), str(LIFE), str(log)])
    try:
        wait_until_ready(process, lambda: answers(f"http://127.0.0.1:{port}/v1/models"), UP)
        yield Field(f"http://127.0.0.1:{port}/v1", log)
    finally:
        process.kill()
        process.wait()


def write_config(folder: Path, url: str, modes: list[str], **keys: object) -> Path:
    """Write twenty good prompts and one of each mode; return the config."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"Tell me fact {i}." for i in range(GOOD)]
    texts += [f"Tell me about [[{mode}]]." for mode in modes]
    rows = [json.dumps({"id": t, "instruction": t}) for t in texts]
    (folder / "data.jsonl").write_text("\n".join(rows) + "\n")
    engine = {"kind": "openai", "base_url": url, "max_retries": RETRIES}
    config = {
        "dataset": "data.jsonl", "store": "store", "out": "out",
        "crowd": [{"name": "a1", "family": "a", "size": 1, "engine": engine}], **keys,
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def outcomes(folder: Path) -> dict[str, dict[str, object]]:
    """Return the row of every mode ('' for a good prompt that went wrong, of which are none)."""
    table = pl.read_parquet(folder / "out/responses.parquet")
    good = table.filter(~pl.col("instruction_id").str.contains("[[", literal=True))
    assert good.height == GOOD
    assert good["error"].null_count() == GOOD
    assert good["text"].null_count() == 0
    odd = table.filter(pl.col("instruction_id").str.contains("[[", literal=True))
    named = odd.with_columns(mode=pl.col("instruction_id").str.extract(r"\[\[(\w+)\]\]"))
    return {str(row["mode"]): row for row in named.iter_rows(named=True)}


# The row's own: the code, and the server's words. These are asked once and never again.
ROWS = {
    "mod403": ("content_filter", "input was flagged for: violence"),
    "dashscope": ("content_filter", "may contain inappropriate content"),
    "azure": ("content_filter", "filtered due to the prompt"),
    "tgi": ("prompt_too_long", "must have less than 4096 tokens"),
    "vllm": ("prompt_too_long", "maximum context length is 1024"),
    "gemma": ("template", "System role not supported"),
}
FAILURES = {
    "error": ("server_error", "Provider disconnected", 1 + RETRIES),
    "err200": ("http_error", "402 Insufficient credits for upstream provider", 1),
}
ANSWERS = {
    "MAX_TOKENS": ("An answer that was cut in the mid", "length", None),
    "closethink": ("The answer is X.", "stop", "Let me see. The user wants X. I should be brief."),
    "parts": ("The answer is Y.", "stop", "hm"),
    "reasononly": ("", "stop", "thinking only"),
}
PLAIN = ("usagefloat", "usagenull", "nofinish", "html502")


def test_every_odd_reply_is_what_it_says(command: Command, tmp_path: Path, field: Field) -> None:
    work = tmp_path / "work"
    modes = [*ROWS, *FAILURES, *ANSWERS, *PLAIN]
    config = write_config(work, field.url, modes, max_failure_rate=1.0)
    run = command.within(work).of("generate")
    run.run("--config", config).ended(0)
    found, asked = outcomes(work), field.asked
    for mode, (code, words) in ROWS.items():
        assert found[mode]["text"] is None
        assert str(found[mode]["error"]).startswith(f"{code}: ")
        assert words in str(found[mode]["error"])
        assert asked[mode] == 1
    for mode, (code, words, times) in FAILURES.items():
        assert found[mode]["text"] is None
        assert str(found[mode]["error"]).startswith(f"{code}: ")
        assert words in str(found[mode]["error"])
        assert asked[mode] == times
    for mode, (text, end, thinking) in ANSWERS.items():
        row = found[mode]
        assert (row["text"], row["finish_reason"], row["reasoning"]) == (text, end, thinking)
    for mode in PLAIN:
        assert found[mode]["error"] is None
        assert "answers: fine" in str(found[mode]["text"])
    assert found["usagefloat"]["prompt_tokens"] is None
    assert found["html502"]["prompt_tokens"] == 5
    run.run("--config", config).ended(0)
    again = field.asked
    assert {mode for mode in modes if again[mode] > asked[mode]} == set(FAILURES)
    assert again[""] == asked[""] == GOOD


def test_rows_of_their_own_fault_are_no_failures_of_the_run(
    command: Command, tmp_path: Path, field: Field
) -> None:
    config = write_config(tmp_path / "work", field.url, list(ROWS))  # 1% of the calls may fail
    command.within(tmp_path / "work").of("generate").run("--config", config).ended(0)
    assert set(outcomes(tmp_path / "work")) == set(ROWS)
