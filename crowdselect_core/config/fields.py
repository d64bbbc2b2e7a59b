"""How the values of a config may be written: as flags and environment variables give them, as text.

Each function is a pydantic validator; its ValueError becomes the one line that the user sees.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from crowdselect_core.config.base import CREDENTIALS
from crowdselect_core.errors import ConfigError
from crowdselect_core.urls import checked_url, expanded, is_url


def read_budget(value: Any) -> int | float:
    """Read 200 or '200' as rows, 0.05 or '0.05' as a fraction of the eligible rows."""
    for read in (int, float) if isinstance(value, str) else ():
        try:
            value = read(value)
            break
        except ValueError:
            continue
    rows = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not rows and not (isinstance(value, float) and 0 < value <= 1):
        raise ValueError("expected whole rows (200) or a fraction above 0 and up to 1 (0.05)")
    number: int | float = value
    return number


def read_weights(value: Any) -> Any:
    """Read '1,1,2' or '1,1,2,1' as four numbers; the fourth, of headroom, is 0 unless given."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or len(given) not in (3, 4):
        raise ValueError(
            "expected three numbers for difficulty, separability, stability (1,1,2), or four, the "
            "last one for headroom (1,1,2,1)"
        )
    return given if len(given) == 4 else [*given, 0.0]


# Four numbers once read; a form may hold three, so its schema says so.
Weights = Annotated[
    tuple[float, float, float, float],
    BeforeValidator(read_weights),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 4}),
]


def _place(value: str) -> str:
    """Refuse a URL that carries credentials: a config is kept by the Prefect server and shown."""
    try:
        return checked_url(value) if is_url(value) else value
    except ConfigError as e:
        raise PydanticCustomError(CREDENTIALS, "{why}", {"why": str(e)}) from None


Place = Annotated[str, AfterValidator(_place)]
OwnPlace = Annotated[Place, AfterValidator(expanded)]  # where a run writes
LocalPath = Annotated[str, AfterValidator(expanded)]


def read_names(value: Any) -> Any:
    """Read 'a,b' or a single name as a list of names."""
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


def read_layouts(value: Any) -> Any:
    """Read 'sharegpt,pairs', also inside a list, as a list of layouts."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        return value
    return [part for one in given for part in (read_names(one) if isinstance(one, str) else [one])]


def read_response(value: Any) -> Any:
    """Read 'a,b' as a list of models; a single word stays a mode or a model's name."""
    return read_names(value) if isinstance(value, str) and "," in value else value
