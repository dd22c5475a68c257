"""The oracle under `/_oracle`: the exact truth that Stripe itself never shows. For tests and for the demo's last table.

GET  /_oracle/books    exact totals per (event_name, customer); ?group=dimensions,hour splits them; ?event_name= and
                       ?customer= narrow them; `events_pending` says how much the asynchronous plane has yet to reach
GET  /_oracle/events   every accepted event and its state: ?after=SEQUENCE&limit=N pages, ?format=ndjson streams all after it
GET  /_oracle/stats    calls by outcome, duplicates, counted again, drops, peaks, since the process started
POST /_oracle/reset    forget everything; {"keep_catalogue": true} keeps meters and customers

Totals are strings of exact decimal digits. They count what was accepted and neither dropped nor cancelled.
"""

from typing import TypeAlias

import orjson
from aiohttp import web

from taximeter_sandbox.stripe.control.json_handlers import explained, json_response, read_object
from taximeter_sandbox.stripe.metering.books import Line, value_of
from taximeter_sandbox.stripe.metering.meter_events import Dimensions, MeterEvent, payload_of
from taximeter_sandbox.stripe.metering.quantities import add, exact_text
from taximeter_sandbox.stripe.simulator import Simulator

PAGE_DEFAULT = 1000
PAGE_MAX = 10_000
HOUR_S = 3600
GroupKey: TypeAlias = tuple[str, str, Dimensions | None, int | None]


class Oracle:
    """The handlers of `/_oracle`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/_oracle/books", explained(self._books)),
            web.get("/_oracle/events", explained(self._events)),
            web.get("/_oracle/stats", self._stats),
            web.post("/_oracle/reset", explained(self._reset)),
        ]

    async def _books(self, request: web.Request) -> web.Response:
        account = self._simulator.account
        now_ms = self._simulator.clock.now_ms()
        account.advance(now_ms)
        groups = set(filter(None, request.query.get("group", "").split(",")))
        if groups - {"dimensions", "hour"}:
            raise ValueError("books: group may be dimensions, hour or both, separated by a comma")
        lines: dict[GroupKey, Line]
        if groups:
            lines = self._grouped(by_dimensions="dimensions" in groups, by_hour="hour" in groups)
        else:
            lines = {(event_name, customer, None, None): line for (event_name, customer), line in account.books.lines()}
        names = (request.query.get("event_name"), request.query.get("customer"))
        wanted = {key: line for key, line in lines.items() if names[0] in (None, key[0]) and names[1] in (None, key[1])}
        rows = [_row(key, wanted[key]) for key in sorted(wanted, key=str)]
        return json_response({"now_ms": now_ms, "events_pending": account.pending, "rows": rows})

    def _grouped(self, *, by_dimensions: bool, by_hour: bool) -> dict[GroupKey, Line]:
        lines: dict[GroupKey, Line] = {}
        for event in self._simulator.account.books.counted():
            hour = event.timestamp // HOUR_S * HOUR_S if by_hour else None
            key = (event.event_name, event.customer, event.dimensions if by_dimensions else None, hour)
            line = lines.get(key, Line(0, 0))
            lines[key] = Line(add(line.total, value_of(event)), line.events + 1)
        return lines

    async def _events(self, request: web.Request) -> web.StreamResponse:
        account = self._simulator.account
        account.advance(self._simulator.clock.now_ms())
        after = _number(request, "after", -1, -1, len(account.events))
        if request.query.get("format") == "ndjson":
            return await self._stream(request, after + 1)
        limit = _number(request, "limit", PAGE_DEFAULT, 1, PAGE_MAX)
        events = account.events.slice(after + 1, limit)
        has_more = after + 1 + len(events) < len(account.events)
        return json_response({"events": [self._shown(event) for event in events], "has_more": has_more})

    async def _stream(self, request: web.Request, start: int) -> web.StreamResponse:
        events = self._simulator.account.events
        end = len(events)  # what is accepted while the answer is written belongs to the next one
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        while start < end:
            batch = events.slice(start, min(PAGE_DEFAULT, end - start))
            await response.write(b"".join(orjson.dumps(self._shown(event), option=orjson.OPT_APPEND_NEWLINE) for event in batch))
            start += PAGE_DEFAULT
        await response.write_eof()
        return response

    def _shown(self, event: MeterEvent) -> dict[str, object]:
        account = self._simulator.account
        return {
            "sequence": event.sequence,
            "identifier": event.identifier,
            "event_name": event.event_name,
            "customer": event.customer,
            "value": event.value,
            "timestamp": event.timestamp,
            "received_ms": event.received_ms,
            "request_key": event.request_key,
            "payload": payload_of(event, account.meters.by_event_name(event.event_name)),
            "state": account.events.state(event.sequence).name.lower(),
            "drop_reason": account.events.drop_reason(event.sequence),
        }

    async def _stats(self, _: web.Request) -> web.Response:
        simulator = self._simulator
        account = simulator.account
        account.advance(simulator.clock.now_ms())
        return json_response(
            {
                **account.stats.as_json(),
                "events": len(account.events),
                "events_pending": account.pending,
                "adjustments": {status: sum(adjustment.status == status for adjustment in account.adjustments) for status in ("pending", "complete")},
                "idempotency_keys": len(account.idempotency),
                "meters": sum(1 for _ in account.meters),
                "customers": len(account.customers),
                "peak_calls_per_lane": simulator.lanes.peak,
                "restored_entries": simulator.restored,
            }
        )

    async def _reset(self, request: web.Request) -> web.Response:
        document = await read_object(request)
        keep = document.pop("keep_catalogue", False)
        if document or type(keep) is not bool:
            raise ValueError("reset: takes keep_catalogue (true or false) and nothing else")
        self._simulator.reset(keep_catalogue=keep)
        return json_response({"status": "ok"})


def _row(key: GroupKey, line: Line) -> dict[str, object]:
    event_name, customer, dimensions, hour = key
    row: dict[str, object] = {"event_name": event_name, "customer": customer, "total": exact_text(line.total), "events": line.events}
    if dimensions is not None:
        row["dimensions"] = dict(dimensions)
    if hour is not None:
        row["hour"] = hour
    return row


def _number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not text.removeprefix("-").isdecimal() or not low <= int(text[:20]) <= high:
        raise ValueError(f"{name}: must be an integer within {low}..{high}")
    return int(text)
