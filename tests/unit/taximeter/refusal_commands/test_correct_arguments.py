"""What `taximeter correct` refuses before it asks Kafka or Stripe anything: nothing is written that was only to be shown."""

import io
import sys
from pathlib import Path

import pytest

from taximeter.cli import main
from taximeter.exit_codes import PRECONDITION, USAGE
from tests.support.gateway_process import METERS


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "taximeter.toml").write_text(METERS)
    monkeypatch.setenv("TAXIMETER_CONFIG", str(tmp_path / "taximeter.toml"))
    monkeypatch.setenv("TAXIMETER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for name in ("STRIPE_API_KEY", "TAXIMETER_STRIPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


SIGNED = ("--reason", "x", "--yes")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say --resend, --to-customer or --apply, or name one meter event"),
        (["tm-c-0-0-2-0", *SIGNED], "say --resend, --to-customer or --apply, or name one meter event"),
        (["--undo", *SIGNED], "--undo takes the identifier of one meter event"),
        (["tm-c-0-0-2-0", "--undo", "--plan", *SIGNED], "--undo takes the identifier of one meter event, and no --plan"),
        (["--resend"], "--reason must be 1 to 500 characters"),
        (["--resend", "--reason", "x"], "nobody can be asked here: add --yes, or --plan"),
        (["tm-c-0-0-2-0", "--resend"], "--reason must be 1 to 500 characters"),
        (["evt_1", "--to-customer", "cus_2", *SIGNED], "'evt_1' is no identifier of a meter event"),
        (["--resend", "--partition", "99", "--plan"], "there is no partition 99"),
    ],
)
def test_what_is_not_whole_is_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["correct", *arguments]) == USAGE
    assert problem in capsys.readouterr().err


def test_one_meter_event_can_be_looked_at_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def corrected(_: object) -> int:
        raise AssertionError("it was only to be shown")

    monkeypatch.setattr("taximeter.refusal_commands.correct.correct_one", corrected)
    monkeypatch.setenv("TAXIMETER_KAFKA_REQUEST_TIMEOUT_SECONDS", "1")
    assert main(["correct", "tm-c-0-0-2-0", "--resend", "--plan"]) == PRECONDITION
    assert "taximeter:" in capsys.readouterr().err
