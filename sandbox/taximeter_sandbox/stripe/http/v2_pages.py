"""Lists of /v2: pages that lead to each other by URL."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlencode

from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.http.parameters import Parameters

LIMIT_DEFAULT = 20
LIMIT_MAX = 100


class V2Page(NamedTuple):
    """Which part of a list is asked for: at most `limit` items after the one named by the token."""

    limit: int
    after: str | None

    def range_of(self, ids: Sequence[str]) -> tuple[int, int]:
        """Start and end of the page in the whole list. Raises ApiError (400) when the item of the token is gone."""
        if self.after is not None and self.after not in ids:
            raise invalid("Invalid page token: read the list again from its start.", "page", "invalid_pagination_token")
        start = 0 if self.after is None else ids.index(self.after) + 1
        return start, min(start + self.limit, len(ids))

    def next_url(self, path: str, filters: Sequence[tuple[str, str]], last_id: str) -> str:
        """Where the page after the item `last_id` is; the filters go with it."""
        return f"{path}?{urlencode([('limit', str(self.limit)), ('page', last_id), *filters])}"


def read_v2_page(parameters: Parameters) -> V2Page:
    """Take `limit` and `page`. Raises ApiError."""
    limit = parameters.optional_integer("limit")
    if limit is not None and not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"Invalid limit: must be between 1 and {LIMIT_MAX}", "limit")
    return V2Page(LIMIT_DEFAULT if limit is None else limit, parameters.optional_text("page", length_max=200))


def v2_list(shown: Sequence[dict[str, object]], next_url: str | None) -> dict[str, object]:
    """One page of a list."""
    return {"data": list(shown), "next_page_url": next_url, "previous_page_url": None}
