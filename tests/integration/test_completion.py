"""The scripts of `taximeter completion`, in the real shells that this machine has."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECONDS = 60.0
CASES = [
    ("taximeter verif", "verify"),
    ("taximeter verify --js", "--json"),
    ("taximeter stripe custom", "customer"),
    ("taximeter stripe customer create --id", "--idempotency-key"),
    ("taximeter completion fi", "fish"),
    ("taximeter dem", "demo"),
]
# What the shell does when the key is pressed: it calls the function that was registered for the command.
IN_BASH = """\
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<< "$2"
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
registered=$(complete -p taximeter)
[[ $registered =~ -F\\ ([^ ]+) ]] && "${BASH_REMATCH[1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def script(shell: str, folder: Path) -> Path:
    made = subprocess.run([sys.executable, "-m", "taximeter", "completion", shell], capture_output=True, text=True, check=True)
    assert made.stderr == ""
    file = folder / shell
    file.write_text(made.stdout)
    return file


@needs("bash")
def test_bash_completes_commands_options_and_files(tmp_path: Path) -> None:
    file = script("bash", tmp_path)
    (tmp_path / "settings.toml").touch()
    for line, completed in [*CASES, (f"taximeter verify --config {tmp_path}/sett", f"{tmp_path}/settings.toml")]:
        done = subprocess.run(["bash", "--norc", "-c", IN_BASH, "bash", str(file), line], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == [completed], line


@needs("fish")
def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    file = script("fish", tmp_path)
    for line, completed in CASES:
        command = ["fish", "--no-config", "-c", f"source {file}; complete -C '{line}'"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)})
        assert [each.split("\t")[0] for each in done.stdout.splitlines()] == [completed], line


@needs("zsh")
def test_zsh_completes_commands_and_options(tmp_path: Path) -> None:
    file = script("zsh", tmp_path)
    ours, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "HOME": str(tmp_path), "COLUMNS": "200"}
    with subprocess.Popen(["zsh", "-f", "-i"], stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True) as shell:
        os.close(its)
        try:
            begin = f"autoload -U compinit; compinit -u -d {tmp_path}/dump; eval \"$(cat {file})\"; echo rea''dy\n"
            _type(ours, begin, "\nready")
            for line, completed in CASES:
                # Ctrl-U first: it takes the line before away.
                _type(ours, f"\x15{line}\t", f"{line.rpartition(' ')[0]} {completed}")
        finally:
            shell.kill()
            os.close(ours)


def _type(terminal: int, text: str, expected: str) -> None:
    """Type, and wait until the screen shows it."""
    os.write(terminal, text.encode())
    shown = ""
    until = time.monotonic() + SECONDS
    while expected not in shown:
        readable, _, _ = select.select([terminal], [], [], max(0.0, until - time.monotonic()))
        assert readable, shown
        # Without what moves the cursor and sets colours.
        shown = re.sub(r"\x1b(\[[0-9;?]*[a-zA-Z])|\r", "", shown + os.read(terminal, 65536).decode())
