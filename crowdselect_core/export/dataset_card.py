"""The data set card of a selection: source, crowd with licences, method, counts, limits, command.

Names come from the data and the config and are escaped, in Markdown and in YAML.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from crowdselect_core.config.methods import is_function
from crowdselect_core.config.reward import RewardConfig
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.export.public_config import public_config, public_path, public_source
from crowdselect_core.tables import METRIC_NAMES
from crowdselect_core.util.extras import install
from crowdselect_core.util.text import plain

FILE = "dataset_card.md"  # in OUT, after a dry run
TRAIN, PAIRS = "train.jsonl", "pairs.jsonl"
MARK = "<!-- written by CrowdSelect -->"  # by this line the file is known as our own
WIDTH = 200  # characters of a name
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


@dataclass(frozen=True)
class CardFacts:
    """What a card says of a selection beside its config.

    Args:
        summary: what the manifest of OUT tells of it (`report.summary.summarise`).
        kept: chosen rows by the model whose answer is kept.
        key: of the selection in the store.
        version: of the library.
        words: a reason code in words.
    """

    summary: Mapping[str, Any]
    kept: Mapping[str, int]
    key: str
    version: str
    words: Mapping[str, str]


def dataset_card(config: SelectConfig, facts: CardFacts) -> str:
    """Return README.md of the data set.

    Args:
        config: resolved, as the user gave it.
        facts: of the selection.

    Raises:
        ConfigError: the package huggingface_hub is missing.
    """
    try:
        from huggingface_hub import DatasetCard, DatasetCardData
    except ImportError:
        raise ConfigError(
            f"push_to: the card needs huggingface_hub, which is not installed: {install('hub')}"
        ) from None
    rows, pairs = facts.summary["chosen"], facts.summary["pairs"]
    named = [("default", TRAIN), *([("pairs", PAIRS)] if pairs else [])]
    data = DatasetCardData(
        pretty_name=f"{rows:,} rows selected by CrowdSelect",
        size_categories=[_size(rows)],
        task_categories=["text-generation"],
        tags=["crowdselect", "synthetic", *(["preference"] if pairs else [])],
        configs=[{"config_name": name, "data_files": file} for name, file in named],
    )
    body = "\n\n".join(_sections(config, facts))
    return str(DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}\n"))


def _sections(config: SelectConfig, facts: CardFacts) -> Iterator[str]:
    summary = facts.summary
    yield f"# {summary['chosen']:,} rows selected by CrowdSelect"
    yield MARK
    yield (
        f"The best {summary['chosen']:,} of {summary['rows_in']:,} instructions, each with one "
        f"answer of a crowd of {len(config.models)} language models, selected by the method "
        f"{_cell(summary['method'])}. `{TRAIN}` has one JSON object a line, with chat `messages`, "
        "the best row first." + _pairs(summary)
    )
    yield f"## Source\n\n{_source(config)}"
    yield f"## Crowd\n\n{_crowd(config, facts)}"
    yield f"## Reward models\n\n{_rewards(config)}"
    yield f"## Method\n\n{_method(config, facts)}"
    yield f"## Limits\n\n{_limits(config, facts)}"
    yield f"## Command\n\n{_command(config, facts)}"


def _pairs(summary: Mapping[str, Any]) -> str:
    if not summary["pairs"]:
        return ""
    return (
        f" `{PAIRS}` has {summary['pairs']:,} preference pairs (prompt, chosen, rejected); "
        f"{summary['without_pair']:,} chosen rows have none."
    )


def _source(config: SelectConfig) -> str:
    dataset = config.dataset
    told = [f"The instructions are those of {_cell(public_source(dataset))}"]
    told += [
        f"{k} {_cell(str(v))}" for k in ("name", "split", "revision") if (v := getattr(dataset, k))
    ]
    if config.limit is not None:
        told.append(f"its first {config.limit:,} rows")
    return ", ".join(told) + ". Its licence holds for them; it is not repeated here."


def _crowd(config: SelectConfig, facts: CardFacts) -> str:
    rows = [
        [
            m.name, m.family, f"{m.size:g}", m.license or "not stated", m.revision or "",
            f"{facts.kept.get(m.name, 0):,}",
        ]
        for m in config.models
    ]  # fmt: skip
    head = ["model", "family", "size", "licence", "revision", "answers kept"]
    unknown = sum(m.license is None for m in config.models)
    note = "The answers are the models' and stand under the licences that these were given under."
    if unknown:
        note += f" Of {unknown} models the crowd file states no licence: look it up before use."
    return f"{_table(head, rows)}\n\n{note}"


def _rewards(config: SelectConfig) -> str:
    rows = [
        [r, "a score column of the source", "", ""] if isinstance(r, str) else _reward(r)
        for r in config.reward_models
    ]
    return _table(["name", "kind", "model", "revision"], rows)


def _reward(reward: RewardConfig) -> list[str]:
    engine = getattr(reward, "engine", None)
    model = getattr(reward, "model", None) or getattr(engine, "model", None)
    named = (
        public_path(model)
        if isinstance(model, str) and model.startswith(("/", ".", "~"))
        else model
    )
    return [reward.name, str(getattr(reward, "kind", "")), named or "", reward.revision or ""]


def _method(config: SelectConfig, facts: CardFacts) -> str:
    summary = facts.summary
    wanted = config.token_budget or f"{config.budget}"
    response = config.response_mode
    rows = [
        ["method", summary["method"]],
        ["budget", wanted],
        ["clusters", f"{config.clusters}, quota {config.quota}" if config.clusters > 1 else "none"],
        [
            "answer kept",
            response if isinstance(response, str) else "best of " + ", ".join(response),
        ],
        ["seed", str(config.seed)],
        ["rows in", f"{summary['rows_in']:,}"],
        ["eligible", f"{summary['eligible']:,}"],
        *(
            [f"ineligible: {facts.words.get(r, r)}", f"{n:,}"]
            for r, n in summary["ineligible"].items()
        ),
        ["chosen", f"{summary['chosen']:,}"],
    ]
    if config.method == "crowdselect":
        used = METRIC_NAMES if config.student is not None else METRIC_NAMES[:3]
        weights = [f"{name} {w:g}" for name, w in zip(used, config.weights, strict=False)]
        rows.insert(1, ["weights", ", ".join(weights)])
    if held := summary.get("heldout"):
        rows.append(
            ["held out", f"{held['rows']:,}, and {held['near_duplicates']:,} near-duplicates"]
        )
    gates = (summary.get("quality") or {}).get("gates", {})
    rows += [
        [f"removed by the gate {gate}", f"{found['removed']:,}"] for gate, found in gates.items()
    ]
    about = (
        "Difficulty is minus the mean of the crowd's reward scores of a row, separability their "
        "variance, stability the mean rank correlation of model size and score within families "
        "(arXiv 2503.01836); each becomes its quantile over the eligible rows, and rows are "
        "ranked by their weighted sum within clusters of similar instructions."
    )
    table = _table(["", ""], rows)
    return f"{about}\n\n{table}" if config.method == "crowdselect" else table


def _limits(config: SelectConfig, facts: CardFacts) -> str:
    lines = [
        "Texts are written by language models. Nobody checked them for facts, safety or personal "
        "data beyond what is stated under Method.",
        "The choice follows the reward models, with their biases: many prefer long answers.",
        "Scores of different prompts are not promised to be comparable, which difficulty assumes.",
        "Selected is no proof of better: compare a training on these rows with one on random rows.",
    ]
    if config.quality is None:
        lines.append(
            "No quality gate ran: no filter of language, refusals, benchmarks, duplicates."
        )
    elif "decontamination" not in config.quality.gates:
        lines.append("The rows were not checked for prompts of benchmarks.")
    if is_function(config.method):
        lines.append("The method is a function of the author's own, which is not published here.")
    lines += [
        f"{pair['overlap']:,} of the rows are also those of {_cell(pair['baseline'])} "
        f"({pair['by_chance']:.1f} expected by chance)."
        for pair in facts.summary["overlaps"]
    ]
    lines += [_cell(note, 400) for note in facts.summary["notes"]]
    return "\n".join(f"- {line}" for line in lines)


def _command(config: SelectConfig, facts: CardFacts) -> str:
    text = yaml.safe_dump(public_config(config), sort_keys=False, width=96)
    return (
        f"CrowdSelect {_cell(facts.version)}, selection {facts.key[:16]}. `config.yaml` has local "
        "paths by their last names; addresses, hardware, the author's own prompts, rubrics and "
        "patterns, and options that are passed to servers and templates are left out.\n\n"
        "```bash\npython -m flows.select --config config.yaml\n```\n\n"
        f"{_fenced(text, 'yaml')}"
    )


def _fenced(text: str, language: str) -> str:
    """Return a code block that no text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(c) for c in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str, width: int = WIDTH) -> str:
    """Return a text on one line so that Markdown and HTML show it as it is."""
    flat = plain(" ".join(text[: width * 4].split()))
    flat = flat if len(flat) <= width else flat[: width - 3] + "..."
    return re.sub(r"([\\`*_{}\[\]()#!|~$])", r"\\\1", html.escape(flat, quote=False))


def _size(rows: int) -> str:
    return next((name for limit, name in SIZES if rows < limit), "1M<n<10M")
