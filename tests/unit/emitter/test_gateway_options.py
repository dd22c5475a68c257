"""How a gateway is reached: what cannot be right is said at once, and no secret is in a message or a repr."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from taximeter_emitter import Emitter, GatewayOptions
from taximeter_emitter.transports.gateway_connection import GatewayAddress

KEY = "tmk_0123456789ab_secret"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "meter.internal"}, "url is 'meter.internal'; it takes https://host"),
        ({"url": "ftp://meter.internal"}, "it takes https://host"),
        ({"url": "https://"}, "it takes https://host"),
        ({"url": "https://me ter"}, "it takes https://host"),
        ({"url": "https://host:99999"}, "url is not a URL"),
        ({"url": f"https://{KEY}@meter.internal"}, "the key is given as api_key"),
        ({"url": "https://meter.internal/?x=1"}, "a query or a fragment"),
        ({"url": "https://meter.internal/v1/events"}, "without that"),
        ({"api_key": f"{KEY}\n"}, "look for a blank or a line's end"),
        ({"api_key": ""}, "api_key is not a key"),
        ({"ssl_cafile": "/nowhere/ca.pem"}, "/nowhere/ca.pem, which is not a file"),
        ({"connect_seconds": 0}, "connect_seconds is 0"),
        ({"answer_seconds": 301}, "answer_seconds is 301"),
    ],
)
def test_what_cannot_be_right_is_refused_when_the_emitter_is_made(change: dict[str, Any], words: str) -> None:
    options: dict[str, Any] = {"url": "https://meter.internal", "api_key": KEY} | change
    with pytest.raises(ValueError, match=r"\S") as refused:
        Emitter(gateway=GatewayOptions(**options), source="test")
    assert words in str(refused.value)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://a", "bootstrap_servers": "b:1"},
        {"api_key": KEY},
        {"url": "http://a", "gateway": GatewayOptions(url="http://a")},
        {"gateway": GatewayOptions(url="http://a"), "bootstrap_servers": "b:1"},
        {},
    ],
)
def test_events_go_one_way(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gateway|bootstrap_servers"):
        Emitter(**options, source="test")


def test_a_ca_file_that_is_no_certificate_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(ValueError, match=r"ca\.pem cannot be used"):
        Emitter(gateway=GatewayOptions(url="https://a", ssl_cafile=tmp_path / "ca.pem"), source="test")


def test_secrets_are_in_no_repr_and_are_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:pass@proxy:3128")
    options = GatewayOptions(url="https://meter.internal/below", api_key=KEY)
    address = GatewayAddress.of(options)
    assert not any(secret in text for secret in (KEY, "pass", "dXNlcjpwYXNz") for text in (repr(options), repr(address)))
    assert pickle.loads(pickle.dumps(options)).api_key == KEY
    assert (address.target, address.connect_to, address.tunnel) == ("/below/v1/batches", ("proxy", 3128), "meter.internal:443")
    assert address.proxy_headers["Proxy-Authorization"].startswith("Basic ")
    assert "Proxy-Authorization" not in address.headers


@pytest.mark.parametrize("proxy", ["socks5://proxy:1080", "https://proxy:1080"])
def test_a_proxy_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ValueError, match="names a proxy for https that is not http://host:port"):
        Emitter("https://meter.internal", api_key=KEY, source="test")
