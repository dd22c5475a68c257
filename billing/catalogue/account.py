"""What Stripe has of that which the settings file speaks of, as records. Pure: who reads them is billing.catalogue.account_reading."""

from dataclasses import dataclass
from decimal import Decimal

from billing.catalogue.pricing import Package, Tier


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter at Stripe. `event_time_window` is None for a meter that takes every event as it is."""

    id: str
    event_name: str
    display_name: str
    formula: str
    customer_key: str
    value_key: str
    event_time_window: str | None
    active: bool


@dataclass(frozen=True, slots=True)
class FoundProduct:
    """A product that Taximeter made; `key` is Taximeter's name for it."""

    id: str
    key: str
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What cannot be changed of a price. Amounts in smallest units of the currency; ids are Stripe's, "" for one that is yet to be made."""

    product: str
    meter: str
    usage_type: str
    currency: str
    interval: str
    interval_count: int
    unit_amount: Decimal | None
    package: Package | None
    tiers_mode: str | None
    tiers: tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class FoundPrice:
    """A price at Stripe. `key` is its lookup_key, or "" when it has none or lost it to a newer price; `made_as` what Taximeter made it as."""

    id: str
    key: str
    made_as: str
    active: bool
    terms: Terms


@dataclass(frozen=True, slots=True)
class Account:
    """All meters; the products that Taximeter made; their prices, and those that hold a lookup_key of the settings file."""

    meters: tuple[FoundMeter, ...] = ()
    products: tuple[FoundProduct, ...] = ()
    prices: tuple[FoundPrice, ...] = ()

    def meter(self, event_name: str) -> FoundMeter | None:
        """The one meter with this event name."""
        return next((meter for meter in self.meters if meter.event_name == event_name), None)

    def products_of(self, key: str) -> tuple[FoundProduct, ...]:
        """The products with this key: one, unless somebody copied the metadata."""
        return tuple(product for product in self.products if product.key == key)

    def price(self, key: str) -> FoundPrice | None:
        """The one price that holds this lookup_key."""
        return next((price for price in self.prices if price.key == key), None)
