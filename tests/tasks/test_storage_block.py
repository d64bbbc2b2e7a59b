"""A block of storage credentials that names a server has that server's keys."""

import json
import os
from types import SimpleNamespace

import pytest
from prefect.blocks.system import Secret

from crowdselect_core.errors import ConfigError
from tasks import secrets

SERVER = {"AWS_ENDPOINT_URL": "http://evil.invalid"}
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "MARKED"}


@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": "a"}, dict.fromkeys(KEYS, "")])
def test_the_workers_own_keys_are_not_for_the_server_of_a_block(
    keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    before = dict(os.environ)
    held = json.dumps(SERVER | keys)
    monkeypatch.setattr(Secret, "load", lambda name: SimpleNamespace(get=lambda: held))
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL without AWS_ACCESS_KEY_ID and") as told:
        secrets._put("bucket")
    assert "MARKED" not in str(told.value)
    assert os.environ == before


def test_a_server_with_its_keys_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"AWS_SESSION_TOKEN": "of others"})
    monkeypatch.setattr(Secret, "load", lambda name: SimpleNamespace(get=lambda: SERVER | KEYS))
    secrets._put("bucket")
    assert os.environ.items() >= (SERVER | KEYS).items()
    assert "AWS_SESSION_TOKEN" not in os.environ
