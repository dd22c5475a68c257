"""Cursor pagination over a list of objects that carry an `id`."""

from collections.abc import Sequence
from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import invalid, no_such
from taximeter_sandbox.stripe.http.parameters import Parameters

LIMIT_DEFAULT = 10
LIMIT_MAX = 100


class Page(NamedTuple):
    """Which part of a list is asked for."""

    limit: int
    starting_after: str | None
    ending_before: str | None


def read_page(parameters: Parameters) -> Page:
    """Take `limit`, `starting_after` and `ending_before`. Raises ApiError."""
    limit = parameters.optional_integer("limit")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"Invalid limit: must be between 1 and {LIMIT_MAX}", "limit")
    after = parameters.optional_text("starting_after", length_max=5000)
    before = parameters.optional_text("ending_before", length_max=5000)
    if after is not None and before is not None:
        raise invalid("You may only specify one of these parameters: starting_after, ending_before.")
    return Page(LIMIT_DEFAULT if limit is None else limit, after, before)


def list_object(objects: Sequence[dict[str, object]], page: Page, url: str) -> dict[str, object]:
    """Stripe's list of one page. Raises ApiError (400) when the cursor is not in the list."""
    if page.ending_before is not None:
        end = _position(objects, page.ending_before, "ending_before")
        start = max(0, end - page.limit)
        has_more = start > 0
    else:
        start = 0 if page.starting_after is None else _position(objects, page.starting_after, "starting_after") + 1
        end = start + page.limit
        has_more = end < len(objects)
    return {"object": "list", "url": url, "has_more": has_more, "data": list(objects[start:end])}


def _position(objects: Sequence[dict[str, object]], identity: str, param: str) -> int:
    for position, item in enumerate(objects):
        if item["id"] == identity:
            return position
    raise no_such("object", identity, param, status=400)
