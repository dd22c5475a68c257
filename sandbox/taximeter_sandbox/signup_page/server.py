"""The web server of the demo page: bound to this machine, for its own pages only.

Another site's page cannot use it: a request must name this server as its host (which stops a foreign name that resolves to 127.0.0.1), and one that
changes something must come from its own pages (Origin) and carry JSON (which a foreign form cannot send). Nothing is logged but errors.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, Final

import aiohttp
import orjson
import stripe
from aiohttp import web

from billing.calls import NotPossible, calling, idempotency_key
from billing.selling.customers import NewCustomer, create_customer
from billing.selling.prices import PriceAtStripe
from billing.selling.subscribing import NewSubscription, Subscription, show_subscription, subscribe
from metering.process.listener import HttpListener, ListenAddress, ListenerLimits
from metering.stripe.client import ReplyTooLarge
from taximeter_sandbox.signup_page.visits import Visit, Visits

BODY_BYTES_MAX: Final = 4096
HOST: Final = "127.0.0.1"
STOP_SECONDS: Final = 60.0  # a sign-up makes several calls to Stripe
STAND_IN_METHODS: Final = {"works": "pm_card_visa", "declined": "pm_card_chargeDeclined"}
_TEXT_CHARS_MAX: Final = 200
# What Stripe.js needs: https://docs.stripe.com/security/guide#content-security-policy
_STRIPE_SOURCES: Final = (
    "script-src 'self' https://js.stripe.com https://*.js.stripe.com; "
    "frame-src https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com; connect-src 'self' https://api.stripe.com; "
)
_OWN_SOURCES: Final = "script-src 'self'; connect-src 'self'; "
_POLICY_END: Final = "style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_ASSETS: Final = {"page.css": "text/css", "page.js": "text/javascript"}

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Offer:
    """What the page sells and how it collects payment details: with Stripe's Payment Element, or, without a publishable key, the stand-in."""

    price: PriceAtStripe
    publishable_key: str | None


class BadRequest(Exception):
    """What the browser sent cannot be used; the message is for the person who filled in the form."""


class DemoPage:
    """The pages and what they call. The client is used as it is: its key must be a test key."""

    def __init__(self, client: stripe.StripeClient, offer: Offer) -> None:
        self._client = client
        self._offer = offer
        self._visits = Visits()
        self._own_hosts: frozenset[str] = frozenset()
        sources = _OWN_SOURCES if offer.publishable_key is None else _STRIPE_SOURCES
        self._headers = {
            "Content-Security-Policy": f"default-src 'none'; {sources}{_POLICY_END}",
            "X-Content-Type-Options": "nosniff",
            # The address of the last page holds the client secret, for a moment: Stripe.js puts it there.
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
        }

    async def start(self, port: int) -> tuple[HttpListener, str]:
        """Listen on this machine; port 0 is a free one. Returns what to stop in the end, and the address. Raises CannotListen."""
        application = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[self._guard])
        application.router.add_get("/", self._index)
        application.router.add_get("/complete", self._complete)
        application.router.add_post("/sign-up", self._sign_up)
        if self._offer.publishable_key is None:
            application.router.add_post("/stand-in", self._stand_in)
        for name in _ASSETS:
            application.router.add_get(f"/{name}", self._asset)
        listener = HttpListener(application, ListenAddress(host=HOST, port=port), ListenerLimits(finish_seconds=STOP_SECONDS))
        await listener.start()
        self._own_hosts = frozenset({f"{HOST}:{listener.port}", f"localhost:{listener.port}"})
        return listener, f"http://{HOST}:{listener.port}"

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await self._answer(request, handler)
        response.headers.update(self._headers)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.host not in self._own_hosts:
            return _problem(421, "this page answers to its own address only")
        foreign = request.headers.get("Origin") != f"http://{request.host}" or request.content_type != "application/json"
        if request.method == "POST" and foreign:
            return _problem(403, "only this page may do that")
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _problem(413, "that is too much text")
        except web.HTTPException as error:
            return _problem(error.status, error.reason)
        except BadRequest as error:
            return _problem(400, str(error))
        except NotPossible as error:
            return _problem(409, str(error))
        except stripe.CardError as error:
            return _problem(402, error.user_message or "the payment details were declined")
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge) as error:
            _log.warning("a call to Stripe failed: %s", type(error).__name__)
            said = error.user_message if isinstance(error, stripe.StripeError) else None
            return _problem(502, said or "Stripe does not answer as it should; try again")

    async def _index(self, _: web.Request) -> web.Response:
        offer = self._offer
        stripe_js = '<script src="https://js.stripe.com/v3/" defer></script>' if offer.publishable_key is not None else ""
        return _page(
            "index.html",
            stripe_js=stripe_js,
            publishable_key=escape(offer.publishable_key or ""),
            mode="stripe" if offer.publishable_key is not None else "stand-in",
            price=escape(offer.price.name),
            terms=escape(offer.price.terms),
            interval=escape(_interval(offer.price)),
        )

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.path.removeprefix("/")
        return web.Response(text=_read(name), content_type=_ASSETS[name], charset="utf-8")

    async def _sign_up(self, request: web.Request) -> web.Response:
        body = await _json(request)
        new = NewCustomer(_text(body, "name", "the name"), _text(body, "email", "the e-mail address"), metadata={"source": "taximeter demo-page"})
        problems = new.problems()
        if problems:
            raise BadRequest("; ".join(problems))
        customer = (await create_customer(self._client, new)).customer
        subscribed = await subscribe(self._client, NewSubscription(customer.id, (self._offer.price.id,)), now=int(time.time()))
        setup = subscribed.setup
        visit = self._visits.add(Visit(customer.id, subscribed.subscription.id, None if setup is None else setup.id))
        answer: dict[str, str] = {"visit": visit}
        if setup is not None and self._offer.publishable_key is not None:
            answer["client_secret"] = setup.client_secret.reveal()
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def _stand_in(self, request: web.Request) -> web.Response:
        body = await _json(request)
        visit = self._visits.get(_text(body, "visit", "the visit"))
        method = STAND_IN_METHODS.get(_text(body, "card", "the card"))
        if visit is None or visit.setup_intent is None:
            raise BadRequest("begin again: this visit is not known")
        if method is None:
            raise BadRequest(f"the card must be one of {', '.join(STAND_IN_METHODS)}")
        intent = visit.setup_intent
        key = idempotency_key("stand-in", intent, method)
        await calling(lambda: self._client.v1.setup_intents.confirm_async(intent, {"payment_method": method}, {"idempotency_key": key}))
        return web.Response(body=orjson.dumps({}), content_type="application/json")

    async def _complete(self, request: web.Request) -> web.Response:
        visit = self._visits.get(request.query.get("visit", ""))
        if visit is None:
            raise BadRequest("begin again: this visit is not known")
        subscription = await show_subscription(self._client, visit.subscription)
        saved = "saved" if _is_set_up(subscription) else "not saved"
        outcome = request.query.get("redirect_status", "")
        return _page(
            "complete.html",
            title="You are subscribed" if subscription.status in {"active", "trialing"} and saved == "saved" else "Not complete yet",
            customer=escape(visit.customer),
            subscription=escape(subscription.id),
            status=escape(subscription.status),
            payment=saved if outcome != "failed" else f"{saved}: they were declined",
            period=escape(f"{_time(subscription.period_start)} to {_time(subscription.period_end)}"),
            mode="Stripe, in test mode" if self._offer.publishable_key is not None else "the simulator: nothing is charged",
        )


def _is_set_up(subscription: Subscription) -> bool:
    return subscription.payment_method is not None or subscription.setup_intent is None


def _page(name: str, **values: str) -> web.Response:
    return web.Response(text=Template(_read(name)).substitute(values), content_type="text/html", charset="utf-8")


def _read(name: str) -> str:
    return (files("taximeter_sandbox.signup_page") / "pages" / name).read_text(encoding="utf-8")


def _problem(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": message}), content_type="application/json")


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        raise BadRequest("the request is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the request is not a JSON object")
    return body


def _text(body: dict[str, Any], name: str, what: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value.strip()) <= _TEXT_CHARS_MAX or not value.isprintable():
        raise BadRequest(f"{what} must have 1 to {_TEXT_CHARS_MAX} characters, on one line")
    return value.strip()


def _interval(price: PriceAtStripe) -> str:
    return f"every {price.interval}" if price.interval_count == 1 else f"every {price.interval_count} {price.interval}s"


def _time(seconds: int | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
