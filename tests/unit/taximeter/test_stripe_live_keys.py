"""What the commands under `taximeter stripe` do not do with a live key, or with a key of the wrong kind: told before anything is sent."""

from pathlib import Path

import pytest

from taximeter import cli
from taximeter.exit_codes import USAGE
from tests.support.alpaca import SETTINGS

LIVE_KEY = "sk_live_of_this_test_1234"
TEST_KEY = "sk_test_of_this_test_1234"


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "taximeter.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    for name in ("TAXIMETER_STRIPE_API_KEY", "TAXIMETER_STRIPE_API_KEY_FILE", "STRIPE_API_KEY_FILE", "STRIPE_PUBLISHABLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAXIMETER_CONFIG", str(file))
    monkeypatch.delenv("TAXIMETER_STRIPE_API_BASE", raising=False)


def with_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", key)
    monkeypatch.setenv("TAXIMETER_STRIPE_PRODUCTION", "true" if key == LIVE_KEY else "false")


def test_a_test_event_is_not_sent_with_a_live_key_unless_told_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_key(monkeypatch, LIVE_KEY)

    assert cli.main(["stripe", "send-test-event", "cus_1"]) == USAGE
    assert "--live" in capsys.readouterr().err


def test_the_demo_page_takes_no_live_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with_key(monkeypatch, LIVE_KEY)

    assert cli.main(["stripe", "demo-page", "--port", "0", "--publishable-key", "pk_test_1"]) == USAGE
    shown = capsys.readouterr()
    assert "test keys only" in shown.err
    assert LIVE_KEY not in shown.err + shown.out


@pytest.mark.parametrize("publishable_key", ["pk_live_1234", "sk_test_1234", "", 'pk_test_1"><script>'])
def test_the_demo_page_needs_a_publishable_test_key_for_stripe_itself(
    publishable_key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_key(monkeypatch, TEST_KEY)

    assert cli.main(["stripe", "demo-page", "--port", "0", "--publishable-key", publishable_key]) == USAGE
    shown = capsys.readouterr()
    assert "pk_test_..." in shown.err
    assert not publishable_key or publishable_key not in shown.err + shown.out
