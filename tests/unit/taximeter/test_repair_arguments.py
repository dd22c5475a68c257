"""What `taximeter repair` and `taximeter verify` refuse before they ask Kafka anything."""

import io
import sys

import pytest

from taximeter.cli import main
from taximeter.exit_codes import USAGE


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["12"], "there is no partition 12: there are 12, from 0"),
        (["0", "--reason", ""], "--reason must be 1 to 500 characters"),
        (["0", "--reason", "x" * 501], "--reason must be 1 to 500 characters"),
        (["0", "--reason", "x", "--by", "y" * 101], "--by must be 1 to 100 characters"),
        (["0", "--reason", "x"], "nobody can be asked here: add --yes"),
        (["0", "--reason", "x", "--json"], "nobody can be asked here: add --yes"),
    ],
)
def test_an_acceptance_that_is_not_whole_is_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "accept-loss", *arguments]) == USAGE
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--partition", "12", "--offset", "0"], "there is no partition 12: there are 12, from 0"),
        (["--partition", "0", "--offset", "7", "--reason", " "], "--reason must be 1 to 500 characters"),
        (["--partition", "0", "--offset", "7", "--reason", "x"], "nobody can be asked here: add --yes"),
    ],
)
def test_a_step_that_is_not_whole_is_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", "skip", *arguments]) == USAGE
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--from", "yesterday"], "is no time such as"),
        (["--to", "2026-03-31T22:00:00"], "has no time zone"),
    ],
)
def test_a_time_that_is_not_plain_is_refused(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", *arguments])
    assert ended.value.code == USAGE
    assert problem in capsys.readouterr().err


def test_a_range_that_ends_before_it_begins_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--from", "2026-03-31T22:00:00Z", "--to", "2026-03-31T22:00:00Z"]) == USAGE
    assert "--from must be before --to" in capsys.readouterr().err
