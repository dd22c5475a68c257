"""`/v1/events` and `/v2/core/events`: what happened, for those who missed the webhook. Both list newest first."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import cast

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError, invalid, no_such
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.rfc3339 import unix_seconds
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Result, Route, json_result
from taximeter_sandbox.stripe.http.v2_pages import read_v2_page, v2_list
from taximeter_sandbox.stripe.webhooks.event_log import SnapshotEvent, ThinEvent, snapshot_object, thin_object

TYPES_MAX = 20
TYPE_CHARS_MAX = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda created, bound: created > bound,
    "gte": lambda created, bound: created >= bound,
    "lt": lambda created, bound: created < bound,
    "lte": lambda created, bound: created <= bound,
}
Bounds = tuple[tuple[str, int], ...]


def event_routes(account: Account) -> list[Route]:
    """The endpoints that show events."""
    endpoints = _EventEndpoints(account)
    return [
        Route("events.list", "GET", "/v1/events", "event_read", endpoints.list_snapshots),
        Route("events.retrieve", "GET", "/v1/events/{id}", "event_read", endpoints.retrieve_snapshot),
        Route("v2.events.list", "GET", "/v2/core/events", "event_read", endpoints.list_thin),
        Route("v2.events.retrieve", "GET", "/v2/core/events/{id}", "event_read", endpoints.retrieve_thin),
    ]


class _EventEndpoints:
    def __init__(self, account: Account) -> None:
        self._account = account

    def list_snapshots(self, call: Call) -> Prepared:
        parameters = call.parameters
        one = parameters.optional_text("type", length_max=TYPE_CHARS_MAX)
        several = parameters.texts("types", count_max=TYPES_MAX, length_max=TYPE_CHARS_MAX)
        if one is not None and several is not None:
            raise invalid("You may only specify one of these parameters: type, types.", "types")
        bounds = _unix_bounds(parameters)
        page = read_page(parameters)
        parameters.finish()
        patterns = [one] if one is not None else several

        def commit(now_ms: int) -> Result:
            self._refresh(now_ms)
            log = self._account.notifications.log
            wanted = [
                event
                for event in log.snapshots()
                if (patterns is None or any(_matches(event.type, pattern) for pattern in patterns)) and _within(event.created_ms // 1000, bounds)
            ]
            by_id: dict[object, SnapshotEvent] = {event.id: event for event in wanted}
            listed = list_object([{"id": event.id} for event in wanted], page, call.path)
            shown = [self._shown(by_id[item["id"]]) for item in cast("list[dict[str, object]]", listed["data"])]
            return json_result({**listed, "data": shown})

        return Prepared(commit)

    def retrieve_snapshot(self, call: Call) -> Prepared:
        call.parameters.finish()

        def commit(now_ms: int) -> Result:
            self._refresh(now_ms)
            event = self._account.notifications.log.get(call.identity)
            if not isinstance(event, SnapshotEvent):
                raise no_such("event", call.identity)
            return json_result(self._shown(event))

        return Prepared(commit)

    def list_thin(self, call: Call) -> Prepared:
        parameters = call.parameters
        types = parameters.texts("types", count_max=TYPES_MAX, length_max=TYPE_CHARS_MAX)
        about = parameters.optional_text("object_id", length_max=TYPE_CHARS_MAX)
        page = read_v2_page(parameters)
        texts = _bound_texts(parameters)
        bounds = tuple((name, _rfc3339_ms(text, f"created[{name}]")) for name, text in texts)
        parameters.finish()
        filters = [(f"types[{number}]", kind) for number, kind in enumerate(types or ())]
        filters += [(f"created[{name}]", text) for name, text in texts]
        if about is not None:
            filters.append(("object_id", about))

        def commit(now_ms: int) -> Result:
            self._refresh(now_ms)
            wanted = [
                event
                for event in self._account.notifications.log.thin()
                if (types is None or event.type in types)
                and (about is None or (event.related is not None and event.related.id == about))
                and _within(event.created_ms, bounds)
            ]
            start, end = page.range_of([event.id for event in wanted])
            next_url = page.next_url(call.path, filters, wanted[end - 1].id) if end < len(wanted) else None
            return json_result(v2_list([thin_object(event) for event in wanted[start:end]], next_url))

        return Prepared(commit)

    def retrieve_thin(self, call: Call) -> Prepared:
        take_usage(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> Result:
            self._refresh(now_ms)
            event = self._account.notifications.log.get(call.identity)
            if not isinstance(event, ThinEvent):
                raise ApiError(404, f"Event {call.identity} not found.", outcome="resource_missing", code="not_found")
            return json_result(thin_object(event))

        return Prepared(commit)

    def _refresh(self, now_ms: int) -> None:
        self._account.advance(now_ms)
        self._account.notifications.expire(now_ms)

    def _shown(self, event: SnapshotEvent) -> dict[str, object]:
        return snapshot_object(event, self._account.notifications.queue.pending_of(event.id))


def take_usage(parameters: Parameters) -> None:
    """Remove `usage`, which is not one of Stripe's parameters: raw_request_async of stripe-python 16.1 sends telemetry of its own as one
    (`EventNotification.fetch_event_async`, `fetch_related_object_async`)."""
    parameters.texts("usage", count_max=10, length_max=100)


def _matches(kind: str, pattern: str) -> bool:
    return kind == pattern or (pattern.endswith("*") and kind.startswith(pattern[:-1]))


def _within(created: int, bounds: Bounds) -> bool:
    return all(COMPARISONS[name](created, bound) for name, bound in bounds)


def _unix_bounds(parameters: Parameters) -> Bounds:
    created = parameters.optional_group("created")
    if created is None:
        return ()
    given = [(name, created.optional_integer(name)) for name in COMPARISONS]
    created.finish()
    return tuple((name, bound) for name, bound in given if bound is not None)


def _bound_texts(parameters: Parameters) -> list[tuple[str, str]]:
    created = parameters.optional_group("created")
    if created is None:
        return []
    given = [(name, created.optional_text(name, length_max=40)) for name in COMPARISONS]
    created.finish()
    return [(name, text) for name, text in given if text is not None]


def _rfc3339_ms(text: str, param: str) -> int:
    try:
        unix_seconds(text)
        return (datetime.fromisoformat(text.upper()) - EPOCH) // timedelta(milliseconds=1)
    except ValueError:
        raise invalid(f"Invalid timestamp: {text}; must be an RFC 3339 date-time with its offset.", param) from None
