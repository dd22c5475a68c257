"""Run `taximeter stripe ...` in this process, against a simulator."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stripe

from taximeter import cli
from tests.support.alpaca import SETTINGS
from tests.support.stripe_simulator_process import SimulatorProcess

KEY = "sk_test_commands1234"
NO_LIMITS = {"meter_events_per_second": 0, "global_per_second": 0, "endpoint_per_second": 0}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The commands, with settings that name the simulator. `simulator` is the process, for its control API."""

    simulator: SimulatorProcess
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Answer:
        """`taximeter stripe` with these arguments."""
        self.capsys.readouterr()
        try:
            code = cli.main(["stripe", *arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        captured = self.capsys.readouterr()
        assert KEY not in captured.out + captured.err
        return Answer(code, captured.out, captured.err)

    def done(self, *arguments: str) -> str:
        """The stdout of a command that must end well, without the line's end."""
        answer = self.run(*arguments)
        assert answer.code == 0, answer.err
        return answer.out.strip()

    def refused(self, *arguments: str) -> str:
        """The stderr of a command that must not end well."""
        answer = self.run(*arguments)
        assert answer.code != 0, answer.out
        return answer.err

    def customer(self) -> str:
        return self.done("customer", "create", "--name", "Acme")

    def setup(self) -> None:
        """The meter, product and price of the settings."""
        self.done("setup", "--yes")

    def script(self, route: str, kind: str, times: int = 1) -> None:
        self.simulator.call("POST", "/_control/script", {"route": route, "kind": kind, "times": times})


def command_line(
    simulator: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: str = SETTINGS
) -> CommandLine:
    """The commands on a simulator as good as new, without rate limits."""
    simulator.call("DELETE", "/_control/clock")
    simulator.call("DELETE", "/_control/config")
    simulator.call("DELETE", "/_control/script")
    simulator.call("POST", "/_control/config", {"limits": NO_LIMITS})
    simulator.call("POST", "/_oracle/reset")
    file = tmp_path / "taximeter.toml"
    file.write_text(settings, encoding="utf-8")
    monkeypatch.setenv("TAXIMETER_CONFIG", str(file))
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("TAXIMETER_STRIPE_API_BASE", simulator.url)
    for name in ("TAXIMETER_STRIPE_API_KEY", "TAXIMETER_STRIPE_API_KEY_FILE", "STRIPE_API_KEY_FILE", "STRIPE_PUBLISHABLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    return CommandLine(simulator, capsys)


def post_event(commands: CommandLine, event: dict[str, Any]) -> None:
    """A meter event past the commands, whose limits are narrower than Stripe's."""
    sync_client(commands).v1.billing.meter_events.create(event)  # type: ignore[arg-type]  # built from parts


def delete(commands: CommandLine, customer: str) -> None:
    """Delete a customer: no command does."""
    sync_client(commands).v1.customers.delete(customer)


def sync_client(commands: CommandLine) -> stripe.StripeClient:
    """The library, blocking, for what a test does beside the commands."""
    return stripe.StripeClient(KEY, base_addresses={"api": commands.simulator.url, "meter_events": commands.simulator.url}, max_network_retries=2)
