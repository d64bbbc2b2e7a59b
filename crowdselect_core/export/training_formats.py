"""Training files: chat messages for TRL, and the layouts that LLaMA-Factory and others read.

Every layout is JSON Lines or JSON in UTF-8; texts pass through unchanged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl


def json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode rows as JSON Lines."""
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def chat(selection: pl.DataFrame) -> bytes:
    """Encode the selection as chat messages, one {"messages": [...]} a line, best row first."""
    return json_lines({"messages": m} for m in selection["messages"].to_list())


def sharegpt(selection: pl.DataFrame) -> bytes:
    """Encode the selection as ShareGPT conversations (from/value; system, human, gpt)."""
    speakers = {"system": "system", "user": "human", "assistant": "gpt"}
    return json_lines(
        {
            "conversations": [
                {"from": speakers[turn["role"]], "value": turn["content"]} for turn in turns
            ]
        }
        for turns in selection["messages"].to_list()
    )


def alpaca(selection: pl.DataFrame) -> bytes:
    """Encode the selection as Alpaca rows (instruction, input, output).

    Where a row has a system message or earlier turns, every row has `system` and `history` (pairs
    of a question and its answer), the columns in which LLaMA-Factory reads these.
    """
    rows = selection["messages"].to_list()
    whole = any(len(turns) > 2 for turns in rows)
    return json_lines(_alpaca_row(turns, whole) for turns in rows)


def _alpaca_row(turns: Sequence[Mapping[str, str]], whole: bool) -> dict[str, Any]:
    texts = [turn["content"] for turn in turns]
    row: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    if whole:
        own = turns[0]["role"] == "system"
        earlier = texts[int(own) : -2]
        row["system"] = texts[0] if own else ""
        row["history"] = [earlier[at : at + 2] for at in range(0, len(earlier), 2)]
    return row


def prompt_completion(selection: pl.DataFrame) -> bytes:
    """Encode the selection as TRL's conversational prompt and completion.

    `prompt` holds the turns before the answer and `completion` the answer alone, so that SFT
    computes the loss on the answer and on nothing else.
    """
    return json_lines(
        {"prompt": turns[:-1], "completion": turns[-1:]}
        for turns in selection["messages"].to_list()
    )


# By the name under `export`: what a layout makes of the table of the selection.
LAYOUTS: Mapping[str, Callable[[pl.DataFrame], bytes]] = {
    "sharegpt": sharegpt,
    "alpaca": alpaca,
    "prompt-completion": prompt_completion,
}
OURS = "crowdselect"  # the names of our entries in dataset_info.json begin with this


def preference_pairs(pairs: pl.DataFrame) -> bytes:
    """Encode preference pairs with their models and margin; prompt, chosen, rejected are text."""
    return json_lines(pairs.drop("instruction_id").iter_rows(named=True))


def without_ours(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a dataset_info.json that other tools have written."""
    known = ("", "_sharegpt", "_alpaca", "_pairs")
    return {n: e for n, e in entries.items() if n not in {f"{OURS}{end}" for end in known}}


def dataset_info(files: Mapping[str, bytes], others: Mapping[str, Any]) -> bytes:
    """Return the dataset_info.json with which LLaMA-Factory reads the files that were written.

    Args:
        files: what is written.
        others: the entries that lie there; those of other tools stay.
    """
    known: dict[str, dict[str, Any]] = {
        "train.jsonl": {
            "file_name": "train.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        },
        "sharegpt.jsonl": {
            "file_name": "sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
        },
        "alpaca.jsonl": {
            "file_name": "alpaca.jsonl",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
        "pairs.jsonl": {
            "file_name": "pairs.jsonl",
            "ranking": True,
            "columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        },
    }
    names = {
        "train.jsonl": "crowdselect",
        "sharegpt.jsonl": "crowdselect_sharegpt",
        "alpaca.jsonl": "crowdselect_alpaca",
        "pairs.jsonl": "crowdselect_pairs",
    }
    if "history" in _first(files.get("alpaca.jsonl", b"")):
        known["alpaca.jsonl"]["columns"] |= {"system": "system", "history": "history"}
    info = without_ours(others) | {names[f]: known[f] for f in files if f in known}
    return orjson.dumps(info, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _first(lines: bytes) -> dict[str, Any]:
    """Return the first row of a JSON Lines file; all of ours have the same keys."""
    first = lines.split(b"\n", 1)[0]
    return dict(orjson.loads(first)) if first else {}
