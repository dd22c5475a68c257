"""The HTTP application: Stripe's routes through the pipeline, the control API and the oracle beside them."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from taximeter_sandbox.stripe.control.billing_control import BillingControl
from taximeter_sandbox.stripe.control.billing_oracle import BillingOracle
from taximeter_sandbox.stripe.control.simulator_control import Control
from taximeter_sandbox.stripe.control.usage_oracle import Oracle
from taximeter_sandbox.stripe.control.webhook_control import WebhookControl
from taximeter_sandbox.stripe.endpoints.checkout_page import CheckoutPage
from taximeter_sandbox.stripe.http.routes import Route
from taximeter_sandbox.stripe.pipeline import Pipeline
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.webhooks.deliverer import Deliverer

BODY_BYTES_MAX = 4 * 1024 * 1024  # a list of 100,000 customer ids; Stripe's own calls need a thousandth


def make_app(simulator: Simulator) -> web.Application:
    """The application of one simulator; the caller runs it and closes the simulator."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    pipeline = Pipeline(simulator)
    deliverer = Deliverer(simulator.account, simulator.journal)
    app.cleanup_ctx.append(deliverer.running)
    app.router.add_routes(Control(simulator).routes())
    app.router.add_routes(WebhookControl(simulator, deliverer).routes())
    app.router.add_routes(Oracle(simulator).routes())
    app.router.add_routes(BillingControl(simulator).routes())
    app.router.add_routes(BillingOracle(simulator).routes())
    app.router.add_routes(CheckoutPage(simulator.account, simulator.journal).routes())
    for route in (*simulator.routes, simulator.endpoints.unrecognised()):
        app.router.add_route(route.method, route.path, _handler(pipeline, route))
    return app


def _handler(pipeline: Pipeline, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await pipeline.answer(route, request)

    return handle
