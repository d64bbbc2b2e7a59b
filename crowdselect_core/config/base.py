"""The base of every config model, and how a value that may be a credential is refused."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from crowdselect_core.urls import is_secret

CREDENTIALS = "credentials"  # type of a complaint about a value that no message repeats
# Words that no option may hold: a config is kept by the Prefect server and shown in its UI.
SECRET_WORDS = frozenset(
    ["key", "secret", "token", "pass", "credential", "sas", "connection", "auth", "user", "header"]
)
# The words of a class's name: DirectScore is Direct, Score.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|\d+")


class Frozen(BaseModel):
    """A model that cannot change and refuses keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        model_title_generator=lambda config: title_of(config),
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Name a key that holds a config too: a form would show the config's title for it."""
        made = handler(schema)
        for key, told in handler.resolve_ref_schema(made).get("properties", {}).items():
            told.setdefault("title", key.replace("_", " ").title())
        return made


class Named(Frozen):
    """A config that may be written as a bare name, such as the path of a data set."""

    @classmethod
    def keeps_keys(cls, name: str, below: Mapping[str, Any]) -> bool:
        """Tell whether a bare name leaves the other keys of a lower layer in force.

        Args:
            name: that is given.
            below: the section's keys in the lower layer.
        """
        return False

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return cls.from_name(value) if isinstance(value, str) else value


def configs_in(annotation: Any, in_lists: bool = True) -> list[type[BaseModel]]:
    """Return the configs that an annotation allows as a value.

    Args:
        annotation: of a field; a union names several.
        in_lists: whether those that are elements of a list, or values of a mapping, count.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if not in_lists and get_origin(annotation) in (list, dict, tuple):
        return []
    return [found for part in get_args(annotation) for found in configs_in(part, in_lists)]


def kind_of(config: type[BaseModel]) -> str | None:
    """Return the word by which a union knows one of its configs: the only value of `kind`."""
    kind = config.model_fields.get("kind")
    words = get_args(kind.annotation) if kind else ()
    return str(words[0]) if len(words) == 1 else None


def title_of(config: type[BaseModel]) -> str:
    """Return what a config is called in a form: its kind, else its name without what is ours.

    The Prefect UI shows the titles of the JSON schema, by which a user chooses between configs.
    """
    return kind_of(config) or " ".join(_WORDS.findall(config.__name__.removesuffix("Config")))


def refuse_credentials(
    where: str, options: Mapping[str, Any], remedy: str, words: Iterable[str] = SECRET_WORDS
) -> None:
    """Refuse options one of which is named like a credential or holds one.

    Raises:
        PydanticCustomError: names the option, never its value.
    """
    for name, value in _flat(options):
        named = any(word in name.lower().replace("-", "_") for word in words)
        if named or (isinstance(value, str) and is_secret(value)):
            raise PydanticCustomError(
                CREDENTIALS,
                "{where}.{name} looks like a credential: {remedy}",
                {"where": where, "name": name, "remedy": remedy},
            )


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every option, nested ones too."""
    for name, value in options.items():
        inner = value if isinstance(value, list) else [value]
        nested = [one for one in inner if isinstance(one, Mapping)]
        for one in nested:
            yield from ((f"{name}.{below}", found) for below, found in _flat(one))
        if not nested:
            yield from ((str(name), one) for one in inner)
