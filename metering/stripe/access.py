"""Is this key, with this address, one that this installation should use? Checked at start, before anything is sent."""

import re
from typing import Final
from urllib.parse import urlsplit

_LIVE: Final = re.compile(r"(?:sk|rk)_(?:[a-z]+_)*live_")
_KNOWN: Final = re.compile(r"(?:sk|rk)_(?:[a-z]+_)*(?:test|live)_[!-~]+")
_KEY_CHARS_MAX: Final = 512


def check_key(key: str, production: bool) -> str | None:
    """What is wrong with this API key, in words that do not contain it; None if nothing is.

    A live key sends real bills, so it needs the setting that says so; and where that setting is on, a test key would bill nobody.
    """
    if len(key) > _KEY_CHARS_MAX or not _KNOWN.fullmatch(key):
        return "the Stripe API key must be a secret or restricted key: sk_test_..., rk_test_..., sk_live_... or rk_live_..., on one line"
    live = _LIVE.match(key) is not None
    if live and not production:
        return "the Stripe API key is a live key, which bills real customers; set production to true to allow it, or use a test key"
    if production and not live:
        return "production is set to true, but the Stripe API key is a test key, which bills nobody"
    return None


def check_api_base(api_base: str, production: bool) -> str | None:
    """What is wrong with the address of Stripe's API; None if nothing is. A live key must not travel in clear text."""
    try:
        parts = urlsplit(api_base)
        port_given = parts.port is None or parts.port > 0
    except ValueError:
        return "the address of Stripe's API is not a URL"
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_given:
        return "the address of Stripe's API must be http://HOST[:PORT] or https://HOST[:PORT]"
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        return "the address of Stripe's API must end after the host and port"
    if production and parts.scheme != "https":
        return "the address of Stripe's API must begin with https:// in production"
    return None
