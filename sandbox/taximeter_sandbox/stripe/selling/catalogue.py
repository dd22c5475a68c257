"""The catalogue of products and prices: every change to it."""

from collections.abc import Callable
from dataclasses import replace

from taximeter_sandbox.stripe.http.errors import invalid, no_such
from taximeter_sandbox.stripe.selling.price_drafts import PriceDraft, lookup_key_taken
from taximeter_sandbox.stripe.selling.prices import Price, PriceChange, price_object
from taximeter_sandbox.stripe.selling.products import Product, ProductDraft, deleted, made, product_object
from taximeter_sandbox.stripe.selling.selling_port import SellingPort
from taximeter_sandbox.stripe.state.tables import Table

PRODUCTS_MAX = 10_000
PRICES_MAX = 10_000


class Selling:
    """Products and prices of one account. Every method raises ApiError for what Stripe would refuse."""

    def __init__(self, account: SellingPort) -> None:
        self._account = account
        self.products: Table[Product] = Table("product", "product", Product, account.note, maximum=PRODUCTS_MAX)
        self.prices: Table[Price] = Table("price", "price", Price, account.note, maximum=PRICES_MAX)

    def product(self, product_id: str, param: str = "id", status: int = 404) -> Product:
        """A product that is not deleted."""
        product = self.products.get(product_id, param, status)
        if product.deleted:
            raise no_such("product", product_id, param, status)
        return product

    def create_product(self, draft: ProductDraft, *, livemode: bool, now_ms: int) -> Product:
        """A new product."""
        if draft.id is not None and draft.id in self.products:
            raise invalid("Product already exists.", "id", "resource_already_exists")
        identity = draft.id or f"prod_{self._account.identities.token(14)}"
        product = made(draft, identity, now_ms // 1000, livemode=livemode)
        self.products.put(product, now_ms)
        self._tell("product.created", product_object(product), now_ms)
        return product

    def change_product(self, product_id: str, change: Callable[[Product], Product], now_ms: int) -> Product:
        """The product after an update."""
        product = replace(change(self.product(product_id)), updated=now_ms // 1000)
        if product.default_price is not None and self.price(product.default_price, "default_price", 400).product != product_id:
            raise invalid("The default price must belong to the product.", "default_price")
        self.products.put(product, now_ms)
        self._tell("product.updated", product_object(product), now_ms)
        return product

    def delete_product(self, product_id: str, now_ms: int) -> Product:
        """The marker that stays of a product."""
        before = self.product(product_id)
        product = deleted(before, has_prices=any(price.product == product_id for price in self.prices))
        self.products.put(product, now_ms)
        self._tell("product.deleted", product_object(before), now_ms)
        return product

    def price(self, price_id: str, param: str = "id", status: int = 404) -> Price:
        """A price, active or not."""
        return self.prices.get(price_id, param, status)

    def create_price(self, draft: PriceDraft, *, livemode: bool, now_ms: int) -> Price:
        """A new price, and its product when the call describes one."""
        if draft.recurring is not None and draft.recurring.meter is not None:
            self._check_meter(draft.recurring.meter)
        self.prices.make_room(1)
        if draft.product is not None:
            self.product(draft.product, "product", 400)
        holder = self._holder_of(draft.lookup_key, transfers=draft.transfers_lookup_key)
        product = draft.product
        if draft.product_draft is not None:
            product = self.create_product(draft.product_draft, livemode=livemode, now_ms=now_ms).id
        assert product is not None, "a draft has one of the two"
        price = Price(
            id=f"price_{self._account.identities.token(24)}",
            created=now_ms // 1000,
            livemode=livemode,
            currency=draft.currency,
            product=product,
            active=draft.active,
            unit_amount=draft.unit_amount,
            tiers_mode=draft.tiers_mode,
            tiers=draft.tiers,
            package=draft.package,
            recurring=draft.recurring,
            nickname=draft.nickname,
            lookup_key=draft.lookup_key,
            tax_behavior=draft.tax_behavior,
            metadata=draft.metadata,
        )
        self._give_up_key(holder, now_ms)
        self.prices.put(price, now_ms)
        self._tell("price.created", price_object(price), now_ms)
        return price

    def change_price(self, price_id: str, change: PriceChange, now_ms: int) -> Price:
        """The price after an update."""
        before = self.price(price_id)
        price = change.apply(before)
        holder = None if price.lookup_key == before.lookup_key else self._holder_of(price.lookup_key, transfers=change.transfers_lookup_key)
        self._give_up_key(holder, now_ms)
        self.prices.put(price, now_ms)
        self._tell("price.updated", price_object(price), now_ms)
        return price

    def _check_meter(self, meter_id: str) -> None:
        meter = next((meter for meter in self._account.meters if meter.id == meter_id), None)
        if meter is None:
            raise no_such("billing meter", meter_id, "recurring[meter]", 400)
        if not meter.active:
            raise invalid(f"The meter {meter_id} is inactive: a price needs an active meter.", "recurring[meter]")

    def _holder_of(self, lookup_key: str | None, *, transfers: bool) -> Price | None:
        holder = next((price for price in self.prices if lookup_key is not None and price.lookup_key == lookup_key), None)
        if holder is not None and not transfers:
            raise lookup_key_taken(holder.id)
        return holder

    def _give_up_key(self, holder: Price | None, now_ms: int) -> None:
        if holder is not None:
            without = replace(holder, lookup_key=None)
            self.prices.put(without, now_ms)
            self._tell("price.updated", price_object(without), now_ms)

    def _tell(self, kind: str, about: dict[str, object], now_ms: int) -> None:
        self._account.notifications.snapshot(kind, about, now_ms)
