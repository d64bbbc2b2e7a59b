"""What a key takes and what it is by default, in words; read from the JSON schema of its config.

The Prefect UI draws its forms from the same schema.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = Mapping[str, Any]

_TYPES = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true, false",
    "object": "mapping",
}


@cache
def schema_of(config: type[BaseModel]) -> Schema:
    """Return the JSON schema of a config."""
    return config.model_json_schema()


def property_of(config: type[BaseModel], key: str) -> Schema:
    """Return the JSON schema of one key."""
    found: Schema = schema_of(config)["properties"][key]
    return found


def values(schema: Schema, named: Callable[[str], str]) -> str:
    """Return what a key takes: its type, words and range.

    Args:
        schema: the JSON schema of the key.
        named: how a config of its own is called, by the name of its class.
    """
    if "$ref" in schema:
        return named(schema["$ref"].rsplit("/", 1)[-1])
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        words = [values(b, named) for b in branches if b.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if (among := choices(schema)) is not None:
        return ", ".join(f"`{word}`" for word in among)
    if schema.get("type") == "array":
        return f"list of {_count(schema)}{_items(schema, named)}"
    return _TYPES.get(schema.get("type", ""), "any value") + (
        f", {limits}" if (limits := bounds(schema)) else ""
    )


def choices(schema: Schema) -> list[str] | None:
    """Return the words that a key is one of, or None where it takes others."""
    if "const" in schema:
        return [written(schema["const"])]
    return [written(word) for word in schema["enum"]] if "enum" in schema else None


def bounds(schema: Schema) -> str:
    """Return the range of a number, e.g. '1 to 256', or '' where it has none."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    parts = [
        f"above {above}" if above is not None else "",
        f"at least {low}" if low is not None else "",
        f"at most {high}" if high is not None else "",
        f"below {below}" if below is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def default(config: type[BaseModel], key: str) -> str | None:
    """Return the default of a key as it is written in a file; '' is none, None: it is required."""
    field = config.model_fields[key]
    if field.is_required():
        return None
    value = property_of(config, key).get("default")
    return "" if value is None or isinstance(value, dict) or value == [] else written(value)


def written(value: Any) -> str:
    """Return a value as YAML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return str(value)


def _count(schema: Schema) -> str:
    low, high = schema.get("minItems"), schema.get("maxItems")
    if low is None or high is None:
        return ""
    return f"{low} " if low == high else f"{low} to {high} "


def _items(schema: Schema, named: Callable[[str], str]) -> str:
    items = schema.get("items") or schema["prefixItems"][0]
    words = values(items, named)
    if " or " in words:
        return f"({words})"
    return {"text": "texts", "number": "numbers", "integer": "integers"}.get(words, words)
