"""Which response of a row is kept: the config key `response`."""

from collections.abc import Sequence
from dataclasses import dataclass

from crowdselect_core.errors import ConfigError, nearest, shown

MODES = ("best", "random", "random-of-top-5")


@dataclass(frozen=True)
class ResponseMode:
    """How the kept answer is chosen.

    Args:
        kind: `best` and `random-of-top-5` go by score, `random` draws among all complete answers,
            `named` takes one model's.
        models: the models that may be kept, in name order.
    """

    kind: str
    models: tuple[str, ...]

    @property
    def needs_score(self) -> bool:
        """Whether only answers with a score can be kept."""
        return self.kind in ("best", "random-of-top-5")


def response_mode(wanted: str | Sequence[str], models: Sequence[str]) -> ResponseMode:
    """Read a response mode: best, random, random-of-top-5, a model's name, or a list of names.

    Raises:
        ConfigError: neither a mode nor models of the crowd.
    """
    names = tuple(sorted(models))
    if isinstance(wanted, str):
        if wanted in MODES:
            return ResponseMode(wanted, names)
        if wanted in names:
            return ResponseMode("named", (wanted,))
        known = [*MODES, *names]
        raise ConfigError(
            f"response {wanted!r} is neither a mode ({shown(MODES)}) nor a crowd model"
            f"{nearest(wanted, known)} ({shown(names)})"
        )
    unknown = [m for m in wanted if m not in names]
    if unknown or not wanted:
        raise ConfigError(
            f"response: {shown(unknown) or 'an empty list'} is not of the crowd"
            f"{nearest(unknown[0], names) if unknown else ''} ({shown(names)})"
        )
    return ResponseMode("best", tuple(sorted(set(wanted))))
