from pathlib import Path

import pytest

from ingest.admission.api_keys import ApiKeys
from metering.configuration.key_file import read_keys
from taximeter import cli
from taximeter.exit_codes import OK, USAGE


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["demo", "--events", "many"], ["topics", "destroy"]])
def test_wrong_arguments_end_with_3(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == USAGE


@pytest.mark.parametrize("key", ["sk_live_1234567890abcdef", "rk_live_1234567890abcdef", "sk_test_", "nonsense_1234567890"])
def test_the_demo_takes_no_key_but_a_test_key_and_does_not_repeat_it(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--stripe-key", key]) == USAGE

    shown = capsys.readouterr()
    assert "test key only" in shown.err
    assert key not in shown.err.replace("sk_test_...", "") + shown.out


def test_the_demo_says_what_is_too_little(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--events", "10", "--customers", "20"]) == USAGE

    assert "--events" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["verify"], ["topics", "check"]])
def test_a_command_without_a_broker_says_which_setting_is_missing(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "TAXIMETER_KAFKA_BOOTSTRAP_SERVERS", "TAXIMETER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(command)

    assert ended.value.code == USAGE
    assert "KAFKA_BOOTSTRAP_SERVERS" in capsys.readouterr().err


def test_a_new_api_key_is_printed_once_and_its_digest_is_added_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keys.toml"
    tokens = []
    for tenant in ("acme", "globex"):
        assert cli.main(["api-keys", "create", "--tenant", tenant, "--file", str(path)]) == OK
        tokens.append(capsys.readouterr().out.strip())

    keys = ApiKeys(read_keys(path))
    found = [keys.identify(f"Bearer {token}") for token in tokens]
    assert [key.tenant if key else None for key in found] == ["acme", "globex"]
    assert not any(token in path.read_text() for token in tokens)
    assert path.stat().st_mode & 0o077 == 0


def test_a_tenant_that_cannot_stand_in_the_file_is_refused(tmp_path: Path) -> None:
    assert cli.main(["api-keys", "create", "--tenant", "", "--file", str(tmp_path / "keys.toml")]) == USAGE
