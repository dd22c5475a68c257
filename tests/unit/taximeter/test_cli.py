import json
import time
from pathlib import Path

import pytest

from ingest.admission.api_keys import ApiKeys
from metering.configuration.key_file import BadKeysFile, create_key, parse_keys, read_keys, without_key
from taximeter import cli
from taximeter.exit_codes import FAILED, OK, USAGE


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
        assert cli.main(["api-keys", "create", "--tenant", tenant, "--all-customers", "--file", str(path)]) == OK
        tokens.append(capsys.readouterr().out.strip())

    keys = ApiKeys(read_keys(path))
    found = [keys.identify(f"Bearer {token}") for token in tokens]
    assert [key.tenant if key else None for key in found] == ["acme", "globex"]
    assert not any(token in path.read_text() for token in tokens)
    assert path.stat().st_mode & 0o077 == 0


def test_a_tenant_that_cannot_stand_in_the_file_is_refused(tmp_path: Path) -> None:
    assert cli.main(["api-keys", "create", "--tenant", "", "--all-customers", "--file", str(tmp_path / "keys.toml")]) == USAGE


def test_a_key_is_taken_out_and_the_comments_stay() -> None:
    first, second, third = (create_key(tenant=name, customers=("cus_1",)) for name in ("a", "b", "c"))
    text = f"# of a\n{first.entry}\n# of b\n  {second.entry}# of c\n\n{third.entry}# the end\n"
    ids = list(parse_keys(text))
    left = without_key(text, ids[1])
    assert list(parse_keys(left)) == [ids[0], ids[2]]
    assert [line for line in left.splitlines() if line.startswith("#")] == ["# of a", "# of b", "# of c", "# the end"]
    with pytest.raises(BadKeysFile, match="there is no key"):
        without_key(left, ids[1])
    with pytest.raises(BadKeysFile, match="is the only key"):
        without_key(first.entry, ids[0])


def test_a_key_for_all_customers_is_asked_for_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["api-keys", "create", "--tenant", "acme", "--file", str(tmp_path / "keys.toml")])
    assert ended.value.code == USAGE
    assert "--customer --all-customers is required" in capsys.readouterr().err
    assert not (tmp_path / "keys.toml").exists()


def test_what_limits_a_key_is_listed_and_its_successor_has_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.toml")
    limits = ["--name", "eu", "--source", "a", "--source", "b", "--expires", "2099-03-01"]
    assert cli.main(["api-keys", "create", "--tenant", "acme", "--all-customers", *limits, "--file", file]) == OK
    (old,) = read_keys(tmp_path / "keys.toml").values()
    assert cli.main(["api-keys", "rotate", old.key_id, "--file", file]) == USAGE, "for how long the new one is good has to be said"
    assert cli.main(["api-keys", "rotate", old.key_id, "--name", "eu", "--expires", "90d", "--file", file]) == FAILED, "the name is taken"
    assert cli.main(["api-keys", "rotate", old.key_id, "--name", "eu-2", "--expires", "90d", "--file", file]) == OK
    _, new = read_keys(tmp_path / "keys.toml").values()
    assert (new.sources, new.customers, new.name) == (frozenset("ab"), None, "eu-2")
    assert new.expires_ms is not None
    assert abs(new.expires_ms - time.time() * 1000 - 90 * 86_400_000) < 60_000
    capsys.readouterr()
    assert cli.main(["api-keys", "list", "--file", file]) == OK
    first, _ = capsys.readouterr().out.splitlines()
    assert first == f"{old.key_id} (eu)  acme: all customers, sources a, b, expires 2099-03-01T00:00:00Z"
    assert cli.main(["api-keys", "list", "--json", "--file", file]) == OK
    assert [key["expired"] for key in json.loads(capsys.readouterr().out)["keys"]] == [False, False]


@pytest.mark.parametrize("text", ["yesterday", "0d", "2001-01-01", "2099-03-01T00:00:00", "99999999999d"])
def test_a_key_that_would_never_be_good_is_not_made(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["api-keys", "create", "--tenant", "t", "--all-customers", "--expires", text, "--file", str(tmp_path / "keys.toml")])
    assert "--expires" in capsys.readouterr().err


def test_keys_are_listed_rotated_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "keys.toml")
    assert cli.main(["api-keys", "create", "--tenant", "acme", "--customer", "cus_1", "--events-per-second", "5", "--file", file]) == OK
    old = next(iter(read_keys(tmp_path / "keys.toml")))
    assert cli.main(["api-keys", "revoke", old, "--file", file]) == FAILED
    assert cli.main(["api-keys", "rotate", old, "--file", file]) == OK
    before, after = read_keys(tmp_path / "keys.toml").values()
    assert (after.tenant, after.customers, after.events_per_second) == (before.tenant, before.customers, before.events_per_second)
    assert after.key_id != old
    assert cli.main(["api-keys", "revoke", old, "--file", file]) == OK
    capsys.readouterr()
    assert cli.main(["api-keys", "list", "--file", file]) == OK
    shown = capsys.readouterr().out
    assert shown == f"{after.key_id}  acme: customers cus_1, 5 events a second\n"
    assert after.secret_sha256.hex() not in shown
    assert cli.main(["api-keys", "rotate", old, "--file", file]) == FAILED
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600
