"""Control of billing: `POST /_control/subscriptions` {"customers": ["cus_1", ...], "price": "price_..."}: many subscriptions at once.

Optional: `payment_method` (one of Stripe's test names, `pm_card_visa` unless given; null leaves the customers without a card) and
`backdate_start_date` (Unix seconds). All of them or none; answers {"subscriptions": {customer: subscription}}.
"""

from dataclasses import dataclass

from aiohttp import web

from taximeter_sandbox.stripe.configuration import read
from taximeter_sandbox.stripe.control.json_handlers import explained, json_response, read_object
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.selling.subscription_drafts import ItemDraft, SubscriptionDraft
from taximeter_sandbox.stripe.simulator import Simulator

CUSTOMERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the call takes beside the customers."""

    price: str = ""
    payment_method: str | None = "pm_card_visa"
    backdate_start_date: int | None = None


class BillingControl:
    """The handler."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """The existing one."""
        return [web.post("/_control/subscriptions", explained(self._subscribe))]

    async def _subscribe(self, request: web.Request) -> web.Response:
        document = await read_object(request)
        customers = document.pop("customers", None)
        if not isinstance(customers, list) or not all(isinstance(item, str) for item in customers) or len(customers) > CUSTOMERS_MAX:
            raise ValueError(f"subscriptions: customers must be a list of at most {CUSTOMERS_MAX} ids")
        wanted = read(Wanted(), document, "subscriptions")
        try:
            made = self._made(customers, wanted)
        except ApiError as error:
            raise ValueError(f"subscriptions: {error.message}") from error
        finally:
            self._simulator.journal.flush()
        return json_response({"subscriptions": made})

    def _made(self, customers: list[str], wanted: Wanted) -> dict[str, str]:
        account, now_ms = self._simulator.account, self._simulator.clock.now_ms()
        billing = account.billing
        billing.ready(now_ms)
        items = (ItemDraft(wanted.price, (), "price"),)
        billing.subscribing.check_items(items)
        for customer in customers:
            billing.subscribing.check_customer(customer)
        billing.subscriptions.make_room(len(customers))
        made: dict[str, str] = {}
        for customer in customers:
            method = None if wanted.payment_method is None else billing.paying.attach(wanted.payment_method, customer, now_ms, livemode=False).id
            draft = SubscriptionDraft(customer, items, default_payment_method=method, backdate_start_date=wanted.backdate_start_date)
            made[customer] = billing.subscribing.create(draft, now_ms, livemode=False).id
        return made
