"""Who may read, and what is refused at start."""

from base64 import b64encode
from pathlib import Path

import pytest

from console.serving.readers_access import Access, Reader
from console.settings import ConsoleSettings
from metering.configuration.key_file import create_key, parse_keys


def basic(password: str) -> str:
    return f"Basic {b64encode(f'anybody:{password}'.encode()).decode()}"


def test_a_key_that_has_expired_reads_nothing() -> None:
    past, to_come = create_key(tenant="a", expires_ms=1_000), create_key(tenant="b", expires_ms=4_000_000_000_000)
    access = Access(parse_keys(past.entry + to_come.entry))
    assert access.reader({"Authorization": f"Bearer {past.token}"}, None) is None
    assert access.reader({"Authorization": f"Bearer {to_come.token}"}, None) == Reader("b")


def test_a_key_is_taken_from_programs_and_from_browsers() -> None:
    ops, shop = create_key(tenant="ops"), create_key(tenant="shop", customers=("cus_1",))
    access = Access(parse_keys(ops.entry + shop.entry))
    assert access.reader({"Authorization": f"Bearer {ops.token}"}, "10.0.0.1") == Reader("ops")
    assert access.reader({"Authorization": basic(shop.token)}, "10.0.0.1") == Reader("shop", frozenset({"cus_1"}))
    wrong = ("", ops.token, "Bearer", f"Bearer {ops.token}0", basic("x"), "Basic !", "Basic /w==", f"Digest {ops.token}")
    assert [access.reader({"Authorization": each} if each else {}, "127.0.0.1") for each in wrong] == [None] * len(wrong)


def test_a_proxy_is_believed_by_its_address() -> None:
    access = Access(None, "X-Forwarded-User", frozenset({"10.0.0.9"}))
    assert access.reader({"X-Forwarded-User": "ann"}, "10.0.0.9") == Reader("ann")
    assert access.reader({"X-Forwarded-User": "ann"}, "10.0.0.8") is None
    assert access.reader({}, "10.0.0.9") is None
    key = create_key(tenant="ops")
    both = Access(parse_keys(key.entry), "X-Forwarded-User", frozenset({"10.0.0.9"}))
    assert both.reader({"Authorization": f"Bearer {key.token}", "X-Forwarded-User": "eve"}, "10.0.0.8") == Reader("ops")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "console.internal"])
def test_another_address_needs_a_key_or_a_proxy(host: str, tmp_path: Path) -> None:
    [problem] = ConsoleSettings(host=host).problems()
    assert "console.keys_file" in problem
    keys = tmp_path / "keys.toml"
    keys.write_text(create_key(tenant="ops").entry)
    assert ConsoleSettings(host=host, keys_file=keys).problems() == ()
    assert ConsoleSettings(host=host, proxy_header="X-User", proxy_addresses=("10.0.0.9",)).problems() == ()
    assert len(ConsoleSettings(host=host, proxy_header="X-User").problems()) == 1
    keys.write_text("[[keys]]\n")
    assert all(problem.startswith("console.keys_file: ") for problem in ConsoleSettings(keys_file=keys).problems())
    assert ConsoleSettings(keys_file=keys).problems()
