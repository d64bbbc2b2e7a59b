"""Training files: chat messages for TRL, and the layouts that LLaMA-Factory and others read.

Every layout is JSON Lines or JSON in UTF-8; texts pass through unchanged.
"""

from collections.abc import Iterable, Mapping
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
    """Encode the selection as ShareGPT conversations (from/value, human/gpt)."""
    return json_lines(
        {
            "conversations": [
                {"from": "human", "value": user["content"]},
                {"from": "gpt", "value": assistant["content"]},
            ]
        }
        for user, assistant in selection["messages"].to_list()
    )


def alpaca(selection: pl.DataFrame) -> bytes:
    """Encode the selection as Alpaca rows (instruction, input, output)."""
    return json_lines(
        {"instruction": user["content"], "input": "", "output": assistant["content"]}
        for user, assistant in selection["messages"].to_list()
    )


def preference_pairs(pairs: pl.DataFrame) -> bytes:
    """Encode preference pairs with their models and margin; prompt, chosen, rejected are text."""
    return json_lines(pairs.drop("instruction_id").iter_rows(named=True))


def dataset_info(files: Iterable[str]) -> bytes:
    """Return the dataset_info.json with which LLaMA-Factory reads the files that were written."""
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
    info = {names[f]: known[f] for f in files if f in known}
    return orjson.dumps(info, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
