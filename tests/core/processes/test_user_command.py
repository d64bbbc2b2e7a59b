"""A command of the config: its words, where it may run, its output, and its end."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import members
from pydantic_core import PydanticCustomError

from crowdselect_core.config.command import checked_command
from crowdselect_core.config.load import from_environment
from crowdselect_core.errors import ConfigError, Stopped
from crowdselect_core.processes import user_command
from crowdselect_core.processes.user_command import (
    ALLOWED,
    CommandFailed,
    UserCommand,
    filled,
    run,
    split,
)

NAMES = ("train_file", "output_dir", "seed")

# It starts a child of its own and sleeps; its process id is in the file `pid`.
FAMILY = """
import os, pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
pathlib.Path("part").write_text(str(os.getpid()))
os.replace("part", "pid")
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "1")


def command(folder: Path, code: str) -> UserCommand:
    words = [sys.executable, "-S", "-c", code]
    return UserCommand("training.command", words, folder, folder / "log", {"OWN": "there"})


def test_a_placeholder_is_a_whole_word_whatever_its_value_holds() -> None:
    text = "train --rows {train_file} '{\"a\": {other}}' --out {output_dir} {seed} '$HOME *'"
    words = split("training.command", text, NAMES)
    values = {"train_file": "/a b/{seed};rm", "output_dir": "--x", "seed": "7"}
    assert filled(words, values) == [
        "train", "--rows", "/a b/{seed};rm", '{"a": {other}}', "--out", "--x", "7", "$HOME *",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a program"),
        ("'' x", "expected a program"),
        ("train 'x", "No closing quotation"),
        ("train {output}", r"unknown placeholder \{output\}, did you mean 'output_dir'"),
        ("train --out={output_dir}", "must be a whole one"),
        ("train {output_dir}/x", "must be a whole one"),
    ],
)
def test_a_text_that_is_no_command_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        split("training.command", text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "train --api-key hunter2",
        "env HF_TOKEN=hunter2 train",
        "train --password=hunter2",
        "train https://me:hunter2@host/x",
        "train --password='hunter2",
        "train {output_dir}?sig=hunter2&password=hunter2",
        "train --token hunter2",
        "train --token=hunter2",
        "train --key hunter2hunter2hunter2 --key 5",
        "train --openai-key 0hunter2hunter2hunter2",
        "env OPENAI_KEY=hunter2hunter2hunter2 train",
        "train --auth 00hunter2-0000-hunter2hunter2hunter2",
        "train --auth hunter2hunter2",
        "train --key hunter22",
        "train --auth me:hunter2",
        "train --pass hunter2",
        "curl -u me:hunter2 host",
        "sh -c 'curl --user=me:hunter2 host'",
        "train --password-text hunter2 --password-file /run/x",
        "env TOKEN=hunter2 train",
        "sh -c 'train --token hunter2'",
        "train --hub-token hunter2",
        "train --to sk-hunter2hunter2hunter2",
        "train --login=hf_hunter2hunter2hunter2",
        "train ghp_hunter2hunter2hunter2",
    ],
)
def test_a_credential_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises((PydanticCustomError, ConfigError), match="credential") as refused:
        checked_command("training", "command", text, NAMES)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "train --max-tokens 9 --pad-token x --sort-key length",
        "serve -p 8000 --token 5 -p 80:80 -p bf16",
        "srun -p gpu train --key instruction --auth none --token none --token true",
        "sh -c 'mkdir -p out && train --use_auth_token false --lr=1'",
        "sh -c 'train --token $MY_TOKEN'",
        "train --password-file /run/x --hub_token_env HF --use_auth_token false --secret_path=x",
        "train --sort-key prompt_sha256_of_rows --api-key-env KEY",
        "/opt/hf_finetuninglauncher.py sk-experiment-withalongdescription",
        "docker run -u 1000:me image",
        "train --pass 2 --key field_1 --auth basic --sort-key field12345",
        "train --key {seed} --token /run/secrets/token --key --verbose",
        "sh -c 'mkdir -p /data/out && mkdir -p ./x'",
        "train /data/sk-learn-v2 hf_models_of_my_own_lab risk-abcdefghijklmnopqrstuvw",
    ],
)
def test_what_only_resembles_a_credential_is_allowed(text: str) -> None:
    assert checked_command("training", "command", text, NAMES) == text


def test_commands_run_only_where_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = command(tmp_path, "open('done', 'w')")
    for value in ("0", "true", ""):
        monkeypatch.setenv(ALLOWED, value)
        with pytest.raises(ConfigError, match=f"set {ALLOWED}=1"):
            run(there)
    monkeypatch.delenv(ALLOWED)
    with pytest.raises(ConfigError, match=f"set {ALLOWED}=1"):
        run(there)
    assert not (tmp_path / "done").exists()
    assert from_environment({ALLOWED: "1"}) == {}  # no key of the config


def test_what_cannot_be_found_is_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    with pytest.raises(ConfigError, match=rf"write '{tmp_path}/mine.py'"):
        user_command.check("training.command", [sys.executable, "mine.py"])
    with pytest.raises(ConfigError, match="no program 'no-such-program'"):
        user_command.check("training.command", ["no-such-program"])
    user_command.check("training.command", [sys.executable, str(tmp_path / "mine.py")])
    user_command.check("training.command", [sys.executable, "-c", "pass;" + "a.b/c;" * 999])


def test_its_output_its_folder_and_its_environment(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['OWN']); print('told', file=sys.stderr)"
    there = command(tmp_path, code)
    assert run(there, most_output=1000) == f"{tmp_path} there\n"
    assert there.log.read_text() == "told\n"
    assert run(there) == ""
    assert sorted(there.log.read_text().splitlines()) == [f"{tmp_path} there", "told", "told"]


def test_a_failure_quotes_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended with exit code 1") as failed:
        run(command(tmp_path, "raise SystemExit('\\x1b[31mno such base model')"))
    assert "| no such base model" in str(failed.value)
    with pytest.raises(CommandFailed, match="ended by signal 9"):
        run(command(tmp_path, "import os; os.kill(os.getpid(), 9)"))


def test_too_much_output_ends_it(tmp_path: Path) -> None:
    endless = "import time\nwhile True: print('x' * 9999, flush=True); time.sleep(0.01)"
    with pytest.raises(CommandFailed, match=r"printed more than 50,000 bytes"):
        run(command(tmp_path, endless), most_output=50_000)
    with pytest.raises(CommandFailed, match=r"printed more than 5 bytes"):
        run(command(tmp_path, "print('123456')"), most_output=5)
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_a_cancelled_command_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    def cancelled() -> None:
        if (tmp_path / "pid").exists():
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        run(command(tmp_path, FAMILY), cancelled)
    assert members(int((tmp_path / "pid").read_text())) == []


@pytest.mark.parametrize("killed", ["run", "guard"])
def test_nothing_survives_a_kill(tmp_path: Path, killed: str) -> None:
    parent = f"""
from pathlib import Path
from crowdselect_core.processes.user_command import UserCommand, run
folder = Path({str(tmp_path)!r})
words = {[sys.executable, "-S", "-c", FAMILY]!r}
run(UserCommand("training.command", words, folder, folder / "log"))
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    try:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        group = int((tmp_path / "pid").read_text())
        assert len(members(group)) == 2
        status = Path(f"/proc/{group}/stat").read_text()
        os.kill(process.pid if killed == "run" else int(status.split()[3]), signal.SIGKILL)
        while members(group):
            assert time.monotonic() < end
            time.sleep(0.05)
        if killed == "guard":
            _, told = process.communicate(timeout=120)
            assert b"the command was ended by signal 9" in told
    finally:
        process.kill()
        process.wait()


def test_the_words_of_this_test_split_as_a_shell_does() -> None:
    words = ["a b", "c'd", '{"x": 1}']
    assert split("k", shlex.join(words), NAMES) == words
