"""Endpoints of products and prices."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Route, json_result
from taximeter_sandbox.stripe.selling import products
from taximeter_sandbox.stripe.selling.price_drafts import read_price_draft
from taximeter_sandbox.stripe.selling.prices import Price, price_object, read_change_of_price, recurring_object
from taximeter_sandbox.stripe.selling.products import product_object

LOOKUP_KEYS_MAX = 10
IDS_MAX = 100


class SellingEndpoints:
    """The endpoints of one account's catalogue."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """All of them."""
        product, price = "/v1/products/{id}", "/v1/prices/{id}"
        return [
            Route("products.create", "POST", "/v1/products", "product_write", self._create_product),
            Route("products.list", "GET", "/v1/products", "product_read", self._list_products),
            Route("products.retrieve", "GET", product, "product_read", self._retrieve_product),
            Route("products.update", "POST", product, "product_write", self._update_product),
            Route("products.delete", "DELETE", product, "product_write", self._delete_product),
            Route("prices.create", "POST", "/v1/prices", "plan_write", self._create_price),
            Route("prices.list", "GET", "/v1/prices", "plan_read", self._list_prices),
            Route("prices.retrieve", "GET", price, "plan_read", self._retrieve_price),
            Route("prices.update", "POST", price, "plan_write", self._update_price),
        ]

    def _create_product(self, call: Call) -> Prepared:
        draft = products.read_draft(call.parameters)
        selling = self._account.billing.selling
        return Prepared(lambda now_ms: json_result(product_object(selling.create_product(draft, livemode=call.livemode, now_ms=now_ms))))

    def _list_products(self, call: Call) -> Prepared:
        ids = call.parameters.texts("ids", count_max=IDS_MAX, length_max=5000)
        active = call.parameters.optional_flag("active")
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(_: int) -> object:
            wanted = (product for product in self._account.billing.selling.products.newest_first() if not product.deleted)
            chosen = [item for item in wanted if (ids is None or item.id in ids) and active in (None, item.active)]
            return list_object([product_object(product) for product in chosen], page, call.path)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve_product(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda _: json_result(product_object(self._account.billing.selling.products.get(call.identity))))

    def _update_product(self, call: Call) -> Prepared:
        change = products.read_changes(call.parameters)
        return Prepared(lambda now_ms: json_result(product_object(self._account.billing.selling.change_product(call.identity, change, now_ms))))

    def _delete_product(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(product_object(self._account.billing.selling.delete_product(call.identity, now_ms))))

    def _create_price(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(("tiers", "product"))
        draft = read_price_draft(call.parameters)
        call.parameters.finish()
        selling = self._account.billing.selling
        return Prepared(lambda now_ms: json_result(self._shown(selling.create_price(draft, livemode=call.livemode, now_ms=now_ms), expand)))

    def _list_prices(self, call: Call) -> Prepared:
        parameters = call.parameters
        expand = frozenset(item.removeprefix("data.") for item in parameters.expansions(("data.tiers", "data.product")))
        keys = parameters.texts("lookup_keys", count_max=LOOKUP_KEYS_MAX, length_max=200)
        product = parameters.optional_text("product", length_max=5000)
        active = parameters.optional_flag("active")
        kind = parameters.optional_choice("type", ("one_time", "recurring"))
        currency = parameters.optional_text("currency", length_max=3)
        how = _read_recurring(parameters)
        page = read_page(parameters)
        parameters.finish()

        def wanted(price: Price) -> bool:
            shown = {} if price.recurring is None else recurring_object(price.recurring)
            return (
                all(shown.get(name) == value for name, value in how.items())
                and (keys is None or price.lookup_key in keys)
                and product in (None, price.product)
                and active in (None, price.active)
                and kind in (None, "one_time" if price.recurring is None else "recurring")
                and currency in (None, price.currency)
            )

        def commit(_: int) -> object:
            chosen = filter(wanted, self._account.billing.selling.prices.newest_first())
            return list_object([self._shown(price, expand) for price in chosen], page, call.path)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve_price(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(("tiers", "product"))
        call.parameters.finish()
        return Prepared(lambda _: json_result(self._shown(self._account.billing.selling.price(call.identity), expand)))

    def _update_price(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(("tiers", "product"))
        change = read_change_of_price(call.parameters)
        return Prepared(lambda now_ms: json_result(self._shown(self._account.billing.selling.change_price(call.identity, change, now_ms), expand)))

    def _shown(self, price: Price, expand: frozenset[str]) -> dict[str, object]:
        shown = price_object(price, with_tiers="tiers" in expand)
        if "product" in expand:
            shown["product"] = product_object(self._account.billing.selling.products.get(price.product))
        return shown


def _read_recurring(parameters: Parameters) -> dict[str, str]:
    """What `recurring[...]` narrows a list of prices to."""
    given = parameters.optional_group("recurring")
    if given is None:
        return {}
    fields = {
        "interval": given.optional_choice("interval", ("day", "month", "week", "year")),
        "meter": given.optional_text("meter", length_max=5000),
        "usage_type": given.optional_choice("usage_type", ("licensed", "metered")),
    }
    given.finish()
    return {name: value for name, value in fields.items() if value is not None}
