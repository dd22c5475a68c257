"""Run `taximeter stripe ...` in this process, against any address."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from taximeter import cli
from tests.support.alpaca import SETTINGS

KEY = "sk_test_commands1234"
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The commands, with settings that name the address."""

    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Answer:
        """`taximeter stripe` with these arguments. What a command does not foresee is raised."""
        self.capsys.readouterr()
        try:
            code = cli.main(["stripe", *arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        captured = self.capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    def run_until(self, reached: Callable[[], bool], *arguments: str) -> Answer:
        """As `run`, for a command that runs until Ctrl-C, which comes soon after this is reached."""

        def interrupt() -> None:
            deadline = time.monotonic() + PATIENCE_S
            while not reached() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

        waiting = threading.Thread(target=interrupt)
        waiting.start()
        try:
            return self.run(*arguments)
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                waiting.join()


def command_line(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The commands on the Stripe at this address."""
    file = tmp_path / "taximeter.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    for name in [name for name in os.environ if name.startswith(("TAXIMETER_", "STRIPE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAXIMETER_CONFIG", str(file))
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("TAXIMETER_STRIPE_API_BASE", url)
    return CommandLine(capsys)
