"""`skillwarrant completion`: the scripts load in their shells, and complete commands and options."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_its_shell_can_read(run, shell):
    script = run("completion", shell).stdout
    assert "_SKILLWARRANT_COMPLETE" in script
    assert json.loads(run("completion", shell, "--json").stdout)["script"] == script.removesuffix("\n")
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here to read it")
    assert subprocess.run([program, "-n"], input=script, text=True, timeout=20, check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("skillwarrant ver", {"verify"}),
        ("skillwarrant verify --base", {"--base", "--base-fingerprint"}),
        ("skillwarrant completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes(run, tmp_path, line, completions):
    script = tmp_path / "completion.bash"
    script.write_text(run("completion", "bash").stdout)
    words = [word or '""' for word in line.split(" ")]
    ask = (
        f"source {script}; COMP_WORDS=({' '.join(words)}); "
        f"COMP_CWORD={len(words) - 1}; _skillwarrant_completion skillwarrant; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", ask], capture_output=True, text=True, timeout=20, check=True, env=environment
    )
    assert set(done.stdout.split()) == completions


def test_another_shell_is_misuse(run):
    assert run("completion", "cmd").exit_code == 2
