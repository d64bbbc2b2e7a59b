"""The model card of a stored model, with the licences of the answers as the config has them now."""

from collections.abc import Mapping
from typing import Any

FILE = "model/README.md"


def current_card(
    told: Mapping[str, Any], licenses: Mapping[str, str | None]
) -> tuple[dict[str, Any], str | None]:
    """Return what is said of a training now, and its card where that is another one.

    Args:
        told: what was stored of the training.
        licenses: of the crowd models; of others what was stored counts.
    """
    stored = told.get("licenses")
    if stored is None:  # a model of an earlier version
        return dict(told), None
    answers = {name: licenses.get(name, found) for name, found in stored["answers"].items()}
    if answers == stored["answers"]:
        return dict(told), None
    now = {**told, "licenses": {**stored, "answers": answers}}
    if "command" in told["recipe"]:
        from crowdselect_core.finetune.own_card import own_card

        return now, own_card(now)
    from crowdselect_core.finetune.model_card import model_card

    return now, model_card(now)
