"""How the tests start the command: a fork of a warm process is as an interpreter of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import Command

# What a command can see of its process; then it ends as the test chooses.
SEEN = """
import atexit, os, sys
print(os.getcwd(), sys.argv, sys.path[0], repr(sys.stdin.read()), os.getpid() == os.getpgid(0))
print(sorted(os.environ.items()), __name__, flush=True)
print("to stderr", file=sys.stderr)
atexit.register(print, "at exit")
"""
ENDS = ["sys.exit(3)", "sys.exit('why')", "1 / 0", "", "os.kill(os.getpid(), 9)",
        "os.kill(os.getpid(), 2)", "print('x' * 1_000_000)"]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_fork_is_as_an_interpreter_of_its_own(command: Command, tmp_path: Path, end: str) -> None:
    script = tmp_path / "seen.py"
    script.write_text(SEEN + end)
    argv, env = [str(script), "a", "b c"], {**command.environment, "MINE": "x y"}
    cold = subprocess.run(
        [sys.executable, *argv], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, check=False,
        capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    assert command.warm is not None
    fork = command.warm.start(argv, tmp_path, env)
    stdout, stderr = fork.communicate()
    assert (fork.poll(), stdout) == (cold.returncode, cold.stdout)
    assert stderr.splitlines()[-1] == cold.stderr.splitlines()[-1]


def test_a_fork_can_be_waited_for_and_killed(command: Command, tmp_path: Path) -> None:
    script = tmp_path / "sleeps.py"
    script.write_text("import time; print('there', flush=True); time.sleep(600)")
    assert command.warm is not None
    fork = command.warm.start([str(script)], tmp_path, command.environment)
    assert fork.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        fork.communicate(timeout=0.1)
    fork.kill()
    assert fork.communicate()[0] in ("", "there\n")
    assert fork.wait() == -signal.SIGKILL
