"""A key that is refused is read again from where it came from."""

import logging
from dataclasses import replace

import pytest
from endpoint import Served, engine, request, served

from crowdselect_core.config.engine import OpenAIEngineConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Answer, Failure
from crowdselect_core.generate.openai.api_key import AGAIN, ApiKey

OLD, NEW = "sk-OLDmarked-0123456789", "sk-NEWmarked-0123456789"
ROWS = 60


class Vault:
    """What holds a key that somebody may exchange; counts how often it was read."""

    def __init__(self, key: str) -> None:
        self.key, self.reads = key, 0

    def read(self) -> str:
        """Return the key of now."""
        self.reads += 1
        return self.key


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def exchange(server: Served, key: str) -> None:
    """Let the endpoint take no other key than this one from now on."""
    server.endpoint.options = replace(server.endpoint.options, key=key)


def asked_while_keys_change(vault: Vault, new: str) -> list[Answer]:
    """Ask for answers; after the 20th the endpoint takes NEW alone, and the vault holds `new`."""
    got: list[Answer] = []
    with served(key=OLD) as server:

        def done(answer: Answer) -> None:
            got.append(answer)
            if len(got) == 20:
                vault.key = new
                exchange(server, NEW)

        asked = engine(server.url, api_key=vault.read, concurrency=4)
        asked.run(iter([request(i, f"topic {i}") for i in range(ROWS)]), done)
    return got


def test_a_run_goes_on_with_the_key_that_its_source_holds_now(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault = Vault(OLD)
    with caplog.at_level(logging.DEBUG):
        got = asked_while_keys_change(vault, NEW)
    assert [a.error for a in got if a.error] == []
    assert len({a.key for a in got}) == ROWS
    assert vault.reads == 2  # at the start, and once for all that were refused together
    assert caplog.text.count("refused its key; going on with a new one") == 1
    assert OLD not in caplog.text
    assert NEW not in caplog.text


def test_a_source_that_holds_the_refused_key_leaves_failures_to_be_asked_again() -> None:
    got = asked_while_keys_change(Vault(OLD), OLD)
    lost = [a for a in got if a.error]
    assert len(got) == ROWS
    assert len(lost) >= ROWS - 20 - 4
    assert {a.failure for a in lost} == {Failure.INFRASTRUCTURE}
    assert not any(OLD in a.error for a in lost)


def test_a_new_key_that_is_wrong_too_is_tried_once_a_request() -> None:
    vault = Vault(OLD)
    got = asked_while_keys_change(vault, "sk-wrong-0123456789")
    assert len(got) == ROWS
    assert sum(bool(a.error) for a in got) >= ROWS - 20 - 4


def test_the_environment_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = OpenAIEngineConfig(kind="openai", base_url="http://127.0.0.1:1/v1", api_key_env="K")
    monkeypatch.setenv("K", OLD)
    key = ApiKey("model", config)
    assert not key.renewed(OLD, float("inf"))
    monkeypatch.setenv("K", NEW + "\n")
    assert not key.renewed(OLD, 0.0)  # it was read after that request was sent
    assert key.renewed(OLD, float("inf"))
    assert key.value == NEW
    assert key.renewed(OLD, 0.0)
    monkeypatch.delenv("K")
    assert not key.renewed(NEW, float("inf"))  # the calls fail, the run goes on
    assert key.value == NEW
    with pytest.raises(ConfigError, match="variable K that api_key_env names is not set"):
        ApiKey("model", config)


def test_a_source_that_held_the_refused_key_is_left_alone_for_a_while() -> None:
    vault = Vault(OLD)
    config = OpenAIEngineConfig(kind="openai", base_url="http://127.0.0.1:1/v1")
    key = ApiKey("model", config, vault.read)
    first = key._next
    assert not key.renewed(OLD, first)
    assert not key.renewed(OLD, first + AGAIN / 2)
    assert vault.reads == 2
    vault.key = NEW
    assert key.renewed(OLD, key._next)


def test_a_block_with_credentials_of_a_bucket_is_no_key() -> None:
    config = OpenAIEngineConfig(kind="openai", base_url="http://127.0.0.1:1/v1", api_key_block="b")
    with pytest.raises(ConfigError, match="the Prefect block b holds a JSON object") as caught:
        ApiKey("model", config, lambda: '{"AWS_SECRET_ACCESS_KEY": "MARKED"}')
    assert "MARKED" not in str(caught.value)
