"""What the README and the docs show must work as it stands there."""

import re
import shlex
import subprocess
from pathlib import Path

import polars as pl
import pytest
import yaml

from crowdselect_core.config import reference
from crowdselect_core.config.commands import COMMANDS
from crowdselect_core.config.load import from_environment, load
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.stages.graph import STAGES
from flows import options

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "docs" / "configuration.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)


def commands() -> list[tuple[str, str]]:
    """Return the name and the flags of every command that a page has."""
    bash = "".join(b for p in PAGES for b in blocks(p, "bash")).replace("\\\n", " ")
    return re.findall(rf"-m flows\.({'|'.join(COMMANDS)})\b(.*)$", bash, re.M)


def test_every_command_has_flags_that_exist() -> None:
    assert {name for name, _ in commands()} == set(COMMANDS)
    for name, flags in commands():
        options.parse(shlex.split(flags, comments=True), name)


@pytest.mark.parametrize("name", [p.name for p in sorted((ROOT / "examples").glob("*.yaml"))])
def test_every_example_is_a_config_of_its_commands(name: str) -> None:
    path = ROOT / "examples" / name
    keys = yaml.safe_load(path.read_text("utf-8"))
    needs = {"finetune": "training", "evaluate": "evaluation", "experiment": "experiment"}
    for flow in ("select", *(flow for flow, key in needs.items() if key in keys)):
        flags = {} if "dataset" in keys else {"dataset": "zoo.parquet"}
        load(str(path), flags, {}, flow)


def test_the_sections_of_the_readme_are_those_of_its_example() -> None:
    whole = yaml.safe_load((ROOT / "examples" / "live.yaml").read_text("utf-8"))
    live = blocks(ROOT / "README.md", "yaml")
    shown = [
        keys
        for b in live
        if {"dataset", "evaluation", "experiment"} & set(keys := yaml.safe_load(b))
    ]
    assert len(shown) == 3
    for keys in shown:
        assert keys == {name: whole[name] for name in keys}


def test_every_make_target_that_is_shown_exists() -> None:
    shown = {
        t for p in PAGES for b in blocks(p, "bash") for t in re.findall(r"^make (\w+)", b, re.M)
    }
    assert {"select", "test", "deploy"} <= shown
    for target in shown:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_contributing_shows_every_room_of_the_house() -> None:
    (house,) = blocks(ROOT / "CONTRIBUTING.md", "")
    shown = set(re.findall(r"[\w./-]+", house))
    folders = (ROOT / "crowdselect_core", ROOT / "tests")
    code = {path.relative_to(ROOT).parts for folder in folders for path in folder.rglob("*.py")}
    rooms = {f"{parts[1]}/" for parts in code if len(parts) > 2}
    loose = {parts[1] for parts in code if parts[0] == "crowdselect_core" and len(parts) == 2}
    beside = {path.stem for path in (ROOT / "flows").glob("[!_]*.py")} - set(COMMANDS)
    assert len(rooms) > 20
    assert rooms | loose - {"__init__.py"} | beside <= shown


def test_the_example_of_a_config_file_is_one() -> None:
    (text,) = blocks(CONFIGURATION, "yaml")
    assert SelectConfig.model_validate(yaml.safe_load(text)).budget == 1000


def test_the_tables_of_keys_are_up_to_date() -> None:
    page = CONFIGURATION.read_text("utf-8")
    assert reference.updated(page) == page, "run `make docs`"


def test_the_page_on_scaling_says_of_every_stage_where_it_is_computed() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text("utf-8")
    first, second = page.split("| on Ray | in the driver |\n|---|---|\n")[1].splitlines()[:2]
    spread, driver = (set(re.findall(r"`([\w-]+)`", cell)) for cell in first.strip("|").split("|"))
    calls = set(re.findall(r"`([\w-]+)`", second))
    assert spread == {stage.name for stage in STAGES.values() if stage.needs is not None}
    assert driver | calls == STAGES.keys() - spread


def test_every_link_to_a_heading_leads_to_one() -> None:
    headings = {
        page.name: {
            reference.anchor(title)
            for title in re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.M)
        }
        for page in PAGES
    }
    links = [
        (page, *link)
        for page in PAGES
        for link in re.findall(r"\]\(([\w./-]*)#([^)]+)\)", page.read_text("utf-8"))
    ]
    assert links
    for page, target, anchor in links:
        name = Path(target).name or page.name
        assert anchor in headings[name], f"{page.name}: {target}#{anchor}"


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
