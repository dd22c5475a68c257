"""docs/stripe.md does what it says: its commands are run, in order, as somebody would who copies them."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from taximeter_sandbox.brokers.readiness import free_port
from taximeter_sandbox.demo.processes import own_environment

from billing.checkup.permissions import PERMISSIONS
from tests.support.repository import ROOT

PAGE: Final = ROOT / "docs" / "stripe.md"
BLOCK: Final = re.compile(r"```console( until-interrupted)?\n(.*?)```", re.DOTALL)
PORTS: Final = ("12111", "9092", "8080", "4243", "4244", "4245")
SCRIPT_SECONDS: Final = 420.0
LINGER: Final = 6  # seconds until a command that runs until Ctrl-C gets it


def script() -> str:
    """The page as one script: what runs until Ctrl-C is interrupted after a while, and must then end in order."""
    lines = ["set -euo pipefail"]
    for until_interrupted, body in BLOCK.findall(PAGE.read_text()):
        # A command begins with "$ "; what does not is the rest of it.
        for command in re.split(r"^\$ ", body, flags=re.MULTILINE):
            if not command.strip():
                continue
            name = command.strip().splitlines()[0]
            lines.append(f"echo {_quoted('+ ' + name)} >&2")
            if until_interrupted:
                lines.append(f"code=0; timeout --preserve-status -s INT {LINGER} {command.strip()} || code=$?; test $code = 0 -o $code = 130")
            else:
                lines.append(command.rstrip())
    text = "\n".join(lines) + "\n"
    for port in PORTS:
        text = re.sub(rf"\b{port}\b", str(free_port("127.0.0.1")), text)
    return text


@pytest.mark.broker
@pytest.mark.end_to_end
def test_every_command_of_the_page_works_in_the_order_of_the_page(tmp_path: Path) -> None:
    environment = {**own_environment(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    (tmp_path / "page.sh").write_text(script())
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            ["bash", "page.sh"],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(SCRIPT_SECONDS)
        finally:
            # The page leaves its services running, in the script's own group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = (tmp_path / "output").read_text(errors="replace")
    assert code == 0, said[-6000:]
    assert "EXACT" in said
    assert "0.08" in said, "two packages of tokens"
    assert "1,789" in said


def test_the_page_names_the_permissions_that_are_asked_for() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {permission.name: ", ".join(permission.users) for permission in PERMISSIONS}


def test_the_page_shows_every_command_under_stripe() -> None:

    from taximeter.command_table import STRIPE_COMMANDS

    shown = set(re.findall(r"taximeter stripe ([a-z-]+)", PAGE.read_text()))
    assert {command.name for command in STRIPE_COMMANDS} <= shown


def test_the_python_on_the_page_imports_what_there_is() -> None:
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), {})  # it defines functions; nothing is called


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
