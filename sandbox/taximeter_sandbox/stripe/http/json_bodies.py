"""Decode the JSON bodies of `/v2/...` calls, as nested parameters whose values are JSON values.

A member that is null counts as not given. Numbers stay numbers: where a string is called for, Stripe's v2 refuses them.
"""

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

import orjson

from taximeter_sandbox.stripe.http.errors import invalid

DEPTH_MAX = 10
VALUES_MAX = 20_000  # a full stream request of 100 events has about a thousand

JsonTree: TypeAlias = dict[str, object]


def parse_object(body: bytes) -> JsonTree:
    """The object; an empty body is an empty one. Raises ApiError (400) for anything else, or one too deep or with too many values."""
    try:
        document = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        raise invalid("Invalid request: the body is not valid JSON.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise invalid("Invalid request: the body must be a JSON object.", code="invalid_json")
    _bound(document)
    return {name: value for name, value in document.items() if value is not None}


def fingerprint_of(query: str, document: Mapping[str, object]) -> bytes:
    """16 bytes that distinguish parameters, regardless of the order of members."""
    digest = hashlib.blake2b(query.encode(), digest_size=16)
    digest.update(b"\n" + orjson.dumps(document, option=orjson.OPT_SORT_KEYS))
    return digest.digest()


def _bound(document: object) -> None:
    level, values = [document], 0
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for node in level:
            if isinstance(node, dict):
                below.extend(node.values())
            elif isinstance(node, list):
                below.extend(node)
        values += len(below)
        if values > VALUES_MAX:
            raise invalid(f"Invalid request: the body has more than {VALUES_MAX} values.", code="invalid_json")
        if not below:
            return
        level = below
    raise invalid(f"Invalid request: the body is nested more than {DEPTH_MAX} levels deep.", code="invalid_json")
