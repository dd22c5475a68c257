"""The control API under `/_control`: what a test changes while the simulator runs. JSON in, JSON out.

GET  /_control/config      the settings in force
POST /_control/config      change sections of them (see configuration)
DELETE /_control/config    back to the settings at start
POST /_control/script      {"route": "meter_events.create", "kind": "reset_after", "times": 3}: the next calls go wrong so
DELETE /_control/script    forget what is scripted
GET  /_control/clock       {"now_ms": ..., "rate": ...}
POST /_control/clock       {"set_ms": ...} or {"advance_ms": ...} and/or {"rate": ...}; rate 0 freezes
DELETE /_control/clock     back to real time
POST /_control/customers   {"ids": ["cus_1", ...]}: customers with ids of the caller's choice, many at once
GET  /_control/health      {"status": "ok"}
"""

from dataclasses import asdict, dataclass

from aiohttp import web

from taximeter_sandbox.stripe.configuration import changed, read, read_fault
from taximeter_sandbox.stripe.control.json_handlers import explained, json_response, read_object
from taximeter_sandbox.stripe.http.keys import mask
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.traffic.faults import ANY_ROUTE

CUSTOMERS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class ClockChange:
    """What `POST /_control/clock` takes."""

    set_ms: int | None = None
    advance_ms: int | None = None
    rate: float | None = None


class Control:
    """The handlers of `/_control`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._route_names = [route.name for route in simulator.routes]

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/_control/health", self._health),
            web.get("/_control/config", self._show_config),
            web.post("/_control/config", explained(self._change_config)),
            web.delete("/_control/config", self._restore_config),
            web.post("/_control/script", explained(self._script)),
            web.delete("/_control/script", self._clear_script),
            web.get("/_control/clock", self._show_clock),
            web.post("/_control/clock", explained(self._change_clock)),
            web.delete("/_control/clock", self._restore_clock),
            web.post("/_control/customers", explained(self._admit_customers)),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def _show_config(self, _: web.Request) -> web.Response:
        settings = self._simulator.settings
        keys = settings.keys
        return json_response(
            {
                "assumptions": asdict(settings.assumptions),
                "limits": asdict(settings.limits),
                "processing": asdict(settings.processing),
                "webhooks": asdict(settings.webhooks),
                "billing": asdict(settings.billing),
                "keys": {
                    "accepted": sorted(map(mask, keys.accepted)),
                    "revoked": sorted(map(mask, keys.revoked)),
                    "restricted": {mask(key): sorted(granted) for key, granted in keys.restricted.items()},
                },
                **asdict(settings.plan),
                "scripted": self._simulator.faults.scripted(),
                "seed": self._simulator.seed,
            }
        )

    async def _change_config(self, request: web.Request) -> web.Response:
        settings = changed(self._simulator.settings, await read_object(request), self._route_names)
        self._simulator.configure(settings)
        return await self._show_config(request)

    async def _restore_config(self, request: web.Request) -> web.Response:
        self._simulator.configure(self._simulator.initial_settings)
        return await self._show_config(request)

    async def _script(self, request: web.Request) -> web.Response:
        document = await read_object(request)
        route, times = document.pop("route", ANY_ROUTE), document.pop("times", 1)
        if route != ANY_ROUTE and route not in self._route_names:
            raise ValueError(f"script: unknown route {route!r}, must be among {', '.join([ANY_ROUTE, *self._route_names])}")
        if type(times) is not int:
            raise ValueError("script: times must be int")
        self._simulator.faults.script(route, read_fault(document, "script"), times)
        return json_response({"scripted": self._simulator.faults.scripted()})

    async def _clear_script(self, _: web.Request) -> web.Response:
        self._simulator.faults.clear_script()
        return json_response({"scripted": {}})

    async def _show_clock(self, _: web.Request) -> web.Response:
        clock = self._simulator.clock
        return json_response({"now_ms": clock.now_ms(), "rate": clock.state.rate})

    async def _change_clock(self, request: web.Request) -> web.Response:
        change = read(ClockChange(), await read_object(request), "clock")
        if change.set_ms is not None and change.advance_ms is not None:
            raise ValueError("clock: give set_ms or advance_ms, not both")
        clock = self._simulator.clock
        if change.rate is not None:
            clock.set_rate(change.rate)
        if change.set_ms is not None:
            clock.set_ms(change.set_ms)
        if change.advance_ms is not None:
            clock.advance_ms(change.advance_ms)
        self._note_clock()
        return await self._show_clock(request)

    async def _restore_clock(self, request: web.Request) -> web.Response:
        self._simulator.clock.follow_real_time()
        self._note_clock()
        return await self._show_clock(request)

    def _note_clock(self) -> None:
        self._simulator.account.note_clock()
        self._simulator.account.advance(self._simulator.clock.now_ms())  # everything that the jump makes due is done when the call is answered
        self._simulator.journal.flush()

    async def _admit_customers(self, request: web.Request) -> web.Response:
        ids = (await read_object(request)).get("ids")
        if not isinstance(ids, list) or not all(isinstance(item, str) and 0 < len(item) <= 255 for item in ids):
            raise ValueError("customers: ids must be a list of non-empty strings of at most 255 characters")
        account = self._simulator.account
        if len(account.customers) + len(ids) > CUSTOMERS_MAX:
            raise ValueError(f"customers: at most {CUSTOMERS_MAX} are kept")
        now_ms = self._simulator.clock.now_ms()
        for customer_id in ids:
            if not account.customers.exists(customer_id):
                account.admit_customer(customer_id, now_ms)
        self._simulator.journal.flush()
        return json_response({"customers": len(account.customers)})
