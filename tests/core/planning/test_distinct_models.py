"""Models that the store could not tell apart are refused, with what tells them apart."""

import pytest

from crowdselect_core.config.reward import JudgeReward
from crowdselect_core.errors import ConfigError
from crowdselect_core.planning.missing_work import _check_distinct


def judge(name: str, revision: str | None = None) -> JudgeReward:
    return JudgeReward.model_validate(
        {
            "name": name, "kind": "judge", "revision": revision,
            "engine": {"kind": "openai", "base_url": f"http://{name}:8000/v1", "model": "judge"},
        }
    )  # fmt: skip


def test_two_judges_of_one_alias_are_told_apart_by_a_revision() -> None:
    why = r"'a' and 'b' ask the same model in the same way, .* give each a revision"
    with pytest.raises(ConfigError, match=why):
        _check_distinct((), (judge("a"), judge("b")))
    _check_distinct((), (judge("a", "first"), judge("b", "second")))
