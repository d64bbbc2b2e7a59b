"""Flags, environment and config file, merged into one config: flags over environment over file.

Every key is an environment variable too: CROWDSELECT_BUDGET, CROWDSELECT_DATASET__PATH.
"""

import argparse
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from crowdselect_core.config.load import _put
from crowdselect_core.errors import ConfigError

# flag, what stands for its value, help; the key is the flag's name unless it is given
FLAGS: list[tuple[str, str | None, str]] = [
    ("--dataset", "PATH_OR_URL", "file, folder, glob, saved datasets folder or hub id"),
    (
        "--format",
        "NAME",
        "auto, messages, sharegpt, alpaca, instruction, generator-zoo, scores-...",
    ),
    ("--crowd", "FILE.yaml", "the crowd's models, or 'paper' for the paper's 19"),
    ("--reward-model", "NAME", "a score column; may be given several times"),
    ("--store", "PATH_OR_URL", "where results are kept between runs (.crowdselect)"),
    ("--out", "PATH_OR_URL", "where the selection is written (out)"),
    (
        "--method",
        "NAME",
        "crowdselect, a metric (difficulty, headroom, ...), reward or random",
    ),
    ("--direction", "top|bottom", "the best rows, or the worst as a baseline"),
    ("--budget", "N|FRACTION", "rows to choose, or a fraction of the eligible rows (1000)"),
    ("--budget-tokens", "N", "tokens to choose, in place of rows"),
    ("--tokenizer", "NAME", "counts --budget-tokens; estimated as UTF-8 bytes / 4 without one"),
    ("--clusters", "K", "clusters to balance over, 0 for none (10)"),
    ("--weights", "D,S,T[,H]", "of difficulty, separability, stability, headroom (1,1,2,0)"),
    ("--quota", "MODE", "equal, proportional or reference"),
    ("--response", "MODE", "best, random, random-of-top-5, a model, or models joined by commas"),
    ("--embedder", "NAME", "lexical, column:NAME, or a sentence-transformers folder or hub id"),
    ("--min-scores", "N", "scores a row needs to be eligible (2)"),
    ("--reference-model", "NAME", "also give the difficulty for this crowd model"),
    ("--allow-short", None, "fewer eligible rows than the budget are a warning"),
    ("--include", "FILE", "choose among these ids only (one a line, or a parquet file)"),
    ("--exclude", "FILE", "never choose these ids"),
    ("--limit", "N", "only the first N rows, for a trial"),
    (
        "--export",
        "LAYOUT",
        "also write sharegpt, alpaca, prompt-completion, pairs; repeatable",
    ),
    ("--seed", "N", "seed of every draw (0)"),
    ("--workers", "N", "shards computed at once (2)"),
    ("--shard-rows", "N", "rows a shard (50000)"),
]


RESELECT_FLAGS: list[tuple[str, str | None, str]] = [
    ("--series", "NAME", "the series of selections to go on with (default)"),
    ("--mode", "MODE", "frozen: new rows by the base's measures; refit: everything anew (frozen)"),
    ("--base", "N", "the selection of the series to go on from (latest)"),
    ("--rollback-to", "N", "make selection N the latest again, write it to OUT, and end"),
]


REPEATED = {"--reward-model": "reward_models", "--export": "export"}


NESTED = {"--dataset": ("dataset", "path"), "--format": ("dataset", "format")}


class Parser(argparse.ArgumentParser):
    """An argument parser that answers in one line and names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


WHAT = {
    "select": "Choose the best instruction-response pairs by the wisdom of a crowd of LLMs. "
    "Without --dataset and --config, chooses from the embedded sample.",
    "generate": "Have every model of the crowd answer the instructions; nothing is asked twice.",
    "reselect": "Select again where rows have arrived; only the new rows are paid for.",
    "score": "Have the reward models score the crowd's answers; what lacks is answered first.",
}


def parser(flow: str = "select") -> Parser:
    """Return the parser of `python -m flows.FLOW`; all flows take the same config."""
    made = Parser(prog=f"python -m flows.{flow}", description=WHAT[flow], allow_abbrev=False)
    made.add_argument("--config", metavar="FILE.yaml", help="config file; flags go before it")
    for flag, metavar, text in flags_of(flow):
        if metavar is None:
            made.add_argument(flag, action="store_true", default=None, help=text)
        else:
            action = "append" if flag in REPEATED else "store"
            made.add_argument(flag, metavar=metavar, action=action, help=text)
    made.add_argument("--dry-run", action="store_true", help="say what would be computed, and end")
    if flow == "score":
        made.add_argument(
            "--check", action="store_true", help="check the reward models for conformance, and end"
        )
    if flow == "reselect":
        made.add_argument("--list", action="store_true", help="list the series, and end")
    return made


def flags_of(flow: str) -> list[tuple[str, str | None, str]]:
    """Return the flags of a flow that are config keys."""
    return [*FLAGS, *RESELECT_FLAGS] if flow == "reselect" else FLAGS


def parse(argv: Sequence[str], flow: str = "select") -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parse the flags; return them and the config keys that they set.

    Raises:
        ConfigError: an unknown flag (the nearest is named) or a flag without its value.
    """
    args, unknown = parser(flow).parse_known_args(_joined(argv))
    if unknown:
        flags = [f for f, _, _ in flags_of(flow)]
        flags += ["--config", "--dry-run", "--help", "--check", "--list"]
        close = get_close_matches(unknown[0].split("=")[0], flags, n=1, cutoff=0.5)
        hint = f", did you mean {close[0]}?" if close else ""
        raise ConfigError(f"unknown flag {unknown[0]!r}{hint}; see --help")
    values: dict[str, Any] = {}
    for flag, _, _ in flags_of(flow):
        value = getattr(args, flag.removeprefix("--").replace("-", "_"))
        if value is not None:
            where = NESTED.get(flag) or (REPEATED.get(flag) or flag[2:].replace("-", "_"),)
            _put(values, where, value)
    return args, values


def _joined(argv: Sequence[str]) -> list[str]:
    """Join '--weights' '-1,1,2' by '=': argparse takes a value with a minus for a flag."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] == "--weights" and re.match(r"-[\d.]", word):
            joined[-1] = f"--weights={word}"
        else:
            joined.append(word)
    return joined
