"""What the README and the docs show must work as it stands there."""

import re
import shlex
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from crowdselect_core.config.load import from_environment
from crowdselect_core.config.select import SelectConfig
from flows import options

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line for line in lines if "-m flows.select" in line]
    return found


def test_every_selection_command_has_flags_that_exist() -> None:
    assert commands()
    for command in commands():
        flags = shlex.split(command.split("-m flows.select")[1], comments=True)
        options.parse(flags)


def test_every_make_target_that_is_shown_exists() -> None:
    shown = {
        t for p in PAGES for b in blocks(p, "bash") for t in re.findall(r"^make (\w+)", b, re.M)
    }
    assert {"select", "test", "deploy"} <= shown
    for target in shown:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_config_file_that_is_shown_has_every_key_with_its_default() -> None:
    (text,) = blocks(ROOT / "docs" / "configuration.md", "yaml")
    values = yaml.safe_load(text)
    assert set(values) == set(SelectConfig.model_fields)
    shown = SelectConfig.model_validate(values)
    plain = SelectConfig.model_validate({"dataset": "any"})
    for name in set(values) - {"dataset", "crowd", "reward_models", "response"}:
        assert getattr(shown, name) == getattr(plain, name), name
    assert shown.response_mode == plain.response_mode


def test_every_environment_variable_of_a_key_is_read() -> None:
    environ = {f"CROWDSELECT_{name.upper()}": "1" for name in SelectConfig.model_fields}
    assert set(from_environment(environ)) == set(SelectConfig.model_fields)


def test_the_library_example_runs() -> None:
    (example,) = [b for b in blocks(ROOT / "README.md", "python") if "crowd_metrics" in b]
    rows = 1200
    scores = pl.DataFrame(
        {
            "instruction_id": [f"row-{i}" for i in range(rows)],
            "qwen-7b": [float(i * 7919 % 1009) for i in range(rows)],
            "qwen-72b": [float(i * 104729 % 1013) for i in range(rows)],
        }
    )
    names: dict[str, object] = {"scores": scores}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own README
    chosen = names["chosen"]
    assert isinstance(chosen, pl.DataFrame)
    assert chosen.height == 1000
    assert chosen["score"].is_sorted(descending=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
