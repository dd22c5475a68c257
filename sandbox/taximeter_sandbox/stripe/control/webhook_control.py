"""What a test asks of webhooks, and what it may know of them.

POST /_control/webhooks   {"resend": "evt_..."}: deliver an event again to every destination that wants it
                          {"roll": "we_...", "overlap_ms": 86400000}: a new signing secret; the present one signs beside it for a while
                          {"settle": true}: wait until all that is due now was attempted, at most SETTLE_S
GET  /_oracle/deliveries  every attempt (the last RECORDS_MAX), oldest first, and how many deliveries wait; ?event=evt_... narrows
"""

from aiohttp import web

from taximeter_sandbox.stripe.control.json_handlers import explained, json_response, read_object
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.webhooks.deliverer import Deliverer
from taximeter_sandbox.stripe.webhooks.deliveries import shown_records

SETTLE_S = 8.0
OVERLAP_MS_MAX = 86_400_000 * 7


class WebhookControl:
    """The handlers."""

    def __init__(self, simulator: Simulator, deliverer: Deliverer) -> None:
        self._simulator = simulator
        self._deliverer = deliverer

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [web.post("/_control/webhooks", explained(self._command)), web.get("/_oracle/deliveries", self._deliveries)]

    async def _command(self, request: web.Request) -> web.Response:
        document = await read_object(request)
        match document:
            case {"resend": str(event_id)} if len(document) == 1:
                return self._resend(event_id)
            case {"roll": str(destination_id), "overlap_ms": int(overlap_ms)} if len(document) == 2 and 0 <= overlap_ms <= OVERLAP_MS_MAX:
                return self._roll(destination_id, overlap_ms)
            case {"settle": True} if len(document) == 1:
                return json_response({"settled": await self._deliverer.settle(SETTLE_S), **self._state()})
        raise ValueError(f"webhooks: takes resend, or roll with overlap_ms within 0..{OVERLAP_MS_MAX}, or settle: true")

    def _resend(self, event_id: str) -> web.Response:
        notifications = self._simulator.account.notifications
        event = notifications.log.get(event_id)
        if event is None:
            raise ValueError(f"webhooks: no event {event_id!r}")
        destinations = notifications.resend(event, self._simulator.clock.now_ms())
        self._simulator.journal.flush()
        return json_response({"destinations": destinations})

    def _roll(self, destination_id: str, overlap_ms: int) -> web.Response:
        account = self._simulator.account
        destination = account.destinations.find(destination_id)
        if destination is None:
            raise ValueError(f"webhooks: no destination {destination_id!r}")
        secret = account.notifications.roll_secret(destination, self._simulator.clock.now_ms(), overlap_ms)
        self._simulator.journal.flush()
        return json_response({"secret": secret})

    async def _deliveries(self, request: web.Request) -> web.Response:
        event_id = request.query.get("event")
        records = self._simulator.account.notifications.queue.records
        wanted = [record for record in records if event_id is None or record.event_id == event_id]
        return json_response({"attempts": shown_records(wanted), **self._state()})

    def _state(self) -> dict[str, object]:
        queue = self._simulator.account.notifications.queue
        return {"waiting": len(queue) - queue.in_flight, "in_flight": queue.in_flight, "not_queued": queue.refused}
