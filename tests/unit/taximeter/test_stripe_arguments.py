import argparse
from decimal import Decimal

import pytest

from taximeter import cli
from taximeter.commands.stripe import STRIPE_COMMANDS
from taximeter.exit_codes import OK
from taximeter.stripe_commands.running import moment, natural, pair, shown
from taximeter.stripe_commands.usage import BAR_CELLS, bar


@pytest.mark.parametrize("command", [command.name for command in STRIPE_COMMANDS])
def test_every_command_under_stripe_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["stripe", command, "--help"])

    assert ended.value.code == OK
    assert f"usage: taximeter stripe {command}" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00+01:00", "2026-11-22 04:30:00-05:30"])
def test_a_time_is_read_with_its_offset(text: str) -> None:
    assert shown(moment(text)) == "2026-11-22 10:00:00 UTC"


@pytest.mark.parametrize("text", ["yesterday", "2026-11-22T10:00:00", "2026-11-22", "2026-11-22T10:00:00.5Z"])
def test_a_time_that_is_not_one_moment_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        moment(text)


def test_a_pair_is_split_at_its_first_equals_sign() -> None:
    assert pair("a=b=c") == ("a", "b=c")


@pytest.mark.parametrize("text", ["", "a", "=b", "a="])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        pair(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "", "٣", str(2**63)])
def test_what_is_no_natural_number_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        natural(text)


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(100, 100) == "█" * BAR_CELLS
    assert len(bar(50, 100)) == BAR_CELLS // 2
    assert len(bar(Decimal("0.5"), Decimal(1))) == BAR_CELLS // 2


def test_what_is_little_still_shows_and_nothing_does_not() -> None:
    assert bar(1, 10**15) == "▏"
    assert bar(0, 100) == bar(0, 0) == bar(-5, 100) == ""
