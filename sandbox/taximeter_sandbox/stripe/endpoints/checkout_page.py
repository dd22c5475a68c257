"""The page behind a checkout session's `url`: a stand-in for Stripe Checkout, with one button that subscribes.

GET  /c/pay/{session}    what will be subscribed to
POST /c/pay/{session}    subscribe, and go to the session's success_url
"""

from html import escape

from aiohttp import web

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.checkout.checking_out import landing_url
from taximeter_sandbox.stripe.checkout.sessions import CheckoutSession
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.state.journal import Journal

PATH = "/c/pay/{session}"
# No form-action: it would be checked again after the redirect to success_url, which may be anywhere.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}"
    "p.note{background:#fff3c4;padding:.75rem 1rem;border-radius:.4rem}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;background:#635bff;color:#fff;cursor:pointer}"
)


class CheckoutPage:
    """The handlers of the page."""

    def __init__(self, account: Account, journal: Journal) -> None:
        self._account = account
        self._journal = journal

    def routes(self) -> list[web.RouteDef]:
        """Both of them."""
        return [web.get(PATH, self._show), web.post(PATH, self._subscribe)]

    async def _show(self, request: web.Request) -> web.Response:
        account = self._account
        account.advance(account.clock.now_ms())
        self._journal.flush()
        try:
            session = account.billing.checking_out.sessions.get(request.match_info["session"])
        except ApiError:
            return _page("There is no such checkout session.", 404)
        if session.status != "open":
            return _page(f"This checkout session is {session.status}.", 410)
        return _page(self._offer(session))

    def _offer(self, session: CheckoutSession) -> str:
        selling = self._account.billing.selling
        names = [selling.products.get(selling.price(price).product).name for price in session.prices]
        items = "".join(f"<li>{escape(name)}, billed by usage</li>" for name in names)
        back = "" if session.cancel_url is None else f' <a href="{escape(session.cancel_url)}">Cancel</a>'
        return f'<ul>{items}</ul><form method="post"><button type="submit">Subscribe with a test card</button>{back}</form>'

    async def _subscribe(self, request: web.Request) -> web.Response:
        account = self._account
        now_ms = account.clock.now_ms()
        try:
            account.billing.ready(now_ms)
            session = account.billing.checking_out.complete(request.match_info["session"], now_ms)
        except ApiError as error:
            return _page(escape(error.message), error.status)
        finally:
            self._journal.flush()
        return web.Response(status=303, headers={**HEADERS, "Location": landing_url(session)})


def _page(content: str, status: int = 200) -> web.Response:
    note = "Stand-in for Stripe Checkout: this is the simulator, nothing is charged."
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Checkout (simulator)</title><style>{STYLE}</style></head>'
        f'<body><h1>Subscribe</h1><p class="note">{note}</p>{content}</body></html>'
    )
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)
