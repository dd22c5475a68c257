"""What is sold, as described in the settings file beside `[[meters]]`: products, and prices for what their meters count.

`[[rate_cards]]` have them for many meters at once (billing.catalogue.card_prices).

    [[products]]
    key = "alpaca_ai"                  # Taximeter's name for it, kept in the product's metadata at Stripe
    name = "Alpaca AI usage"           # what customers read on the invoice

    [[prices]]
    key = "alpaca_ai_tokens_monthly"   # becomes the price's lookup_key at Stripe
    product = "alpaca_ai"
    meter = "alpaca_ai_tokens"         # the event_name of one of the [[meters]]
    currency = "usd"
    interval = "month"                 # day, week, month, year
    amount = "0.04"                    # in the currency's main unit (0.04 US dollars), as a text
    package = 1000                     # optional: the amount is for this many units, not for one
    round = "up"                       # with package: a package that is begun counts whole (up) or not at all (down)

Tiers can replace the amount: each goes up to and including a number of units in the period, the last one without end.

    tiers_mode = "graduated"           # each unit at the amount of its tier; "volume": all units at the amount of the tier that the total is in
    tiers = [
      {up_to = 1_000_000, amount = "0.00004"},
      {up_to = "inf", amount = "0.00003", flat_amount = "1.00"},   # flat_amount: once for each tier that is reached
    ]
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from billing.catalogue.card_prices import SoldByCard, read_card_prices
from billing.money import currency_problem, smallest_units
from metering.formulas.rate_cards import read_rate_cards
from metering.records.meters import Meter, parse_catalogue

PRODUCTS_MAX: Final = 100
PRICES_MAX: Final = 200
TIERS_MAX: Final = 100
UP_TO: Final = "inf"
# In each of these, the longest that Stripe takes: three years.
INTERVALS: Final[Mapping[str, int]] = {"day": 1095, "week": 156, "month": 36, "year": 3}
_KEY_CHARS_MAX: Final = 200  # Stripe's limit for a lookup_key
_NAME_CHARS_MAX: Final = 250
_UNITS_MAX: Final = 10**15
_PRODUCT_KEYS: Final = frozenset({"key", "name"})
_PRICE_KEYS: Final = frozenset(
    {"key", "product", "meter", "currency", "interval", "interval_count", "amount", "package", "round", "tiers_mode", "tiers"}
)
_TIER_KEYS: Final = frozenset({"up_to", "amount", "flat_amount"})


@dataclass(frozen=True, slots=True)
class Product:
    """What is sold. `key` is kept in its metadata at Stripe."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Package:
    """Units that are sold together; `round` says what a package that is begun costs: "up" or "down"."""

    units: int
    round: str


@dataclass(frozen=True, slots=True)
class Tier:
    """Amounts in smallest units of the currency; `up_to` is included in the tier, None is no end."""

    up_to: int | None
    unit_amount: Decimal = Decimal(0)
    flat_amount: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Price:
    """What the units of a meter cost. `unit_amount` is in smallest units of the currency, None for a price with tiers."""

    key: str
    product: str
    meter: str
    currency: str
    interval: str
    interval_count: int = 1
    unit_amount: Decimal | None = None
    package: Package | None = None
    tiers_mode: str | None = None
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that the settings file wants to be at Stripe."""

    meters: tuple[Meter, ...]
    products: tuple[Product, ...] = ()
    prices: tuple[Price, ...] = ()

    def price(self, key: str) -> Price | None:
        """The price with this key."""
        return next((price for price in self.prices if price.key == key), None)


def parse_wanted(document: Mapping[str, Any]) -> tuple[Wanted | None, list[str]]:
    """Read `[[meters]]`, `[[products]]` and `[[prices]]` of a decoded settings file. Returns all of it, or None and every problem found."""
    catalogue, problems = parse_catalogue(document)
    of_cards, _ = read_rate_cards(document)  # what is wrong with them is among the problems of the catalogue
    sold = read_card_prices(document, of_cards)
    problems += sold.problems
    products, found = _parse_products(document, sold)
    problems += found
    # Also of products and meters that have problems of their own: a price should not be blamed for them.
    known_products = _given(document, "products", "key") | {entry["key"] for _, entry in sold.products}
    known_meters = _given(document, "meters", "event_name") | {str(each.entry["event_name"]) for each in of_cards}
    prices, found = _parse_prices(document, sold, known_products, known_meters)
    problems += found
    if catalogue is None or problems:
        return None, problems
    return Wanted(catalogue.meters, products, prices), []


def wanted_of(document: Mapping[str, Any]) -> Wanted:
    """What the settings file wants. Raises ValueError with every problem."""
    wanted, problems = parse_wanted(document)
    if wanted is None:
        raise ValueError("; ".join(problems))
    return wanted


def _given(document: Mapping[str, Any], name: str, key: str) -> frozenset[str]:
    entries = document.get(name)
    return frozenset(str(entry.get(key)) for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else frozenset()


def _parse_products(document: Mapping[str, Any], sold: SoldByCard) -> tuple[tuple[Product, ...], list[str]]:
    entries, problems = _tables(document, "products", PRODUCTS_MAX)
    products = []
    for where, entry in [*entries, *sold.products]:
        found = _unknown(entry, _PRODUCT_KEYS, where) + _names(entry, {"key": _KEY_CHARS_MAX, "name": _NAME_CHARS_MAX}, where)
        problems += found
        if not found:
            products.append(Product(entry["key"], entry["name"]))
    return tuple(products), problems + _twice([product.key for product in products], "products")


def _parse_prices(
    document: Mapping[str, Any], sold: SoldByCard, products: Collection[str], meters: Collection[str]
) -> tuple[tuple[Price, ...], list[str]]:
    entries, problems = _tables(document, "prices", PRICES_MAX)
    prices = []
    for where, entry in [*entries, *sold.prices]:
        found = _price_problems(entry, where, products, meters)
        price = None
        if not found:
            price, found = _read_price(entry, where)
        problems += found
        if price is not None:
            prices.append(price)
    return tuple(prices), problems + _twice([price.key for price in prices], "prices")


def _price_problems(entry: Mapping[str, Any], where: str, products: Collection[str], meters: Collection[str]) -> list[str]:
    """Everything but the amounts."""
    lengths = {"key": _KEY_CHARS_MAX, "product": _KEY_CHARS_MAX, "meter": _KEY_CHARS_MAX}
    problems = _unknown(entry, _PRICE_KEYS, where) + _names(entry, lengths, where)
    if isinstance(entry.get("product"), str) and entry["product"] not in products:
        problems.append(f"{where}.product: no [[products]] table has the key {entry['product']!r}")
    if isinstance(entry.get("meter"), str) and entry["meter"] not in meters:
        problems.append(f"{where}.meter: no [[meters]] table has the event_name {entry['meter']!r}")
    wrong = currency_problem(entry.get("currency"))
    if wrong is not None:
        problems.append(f"{where}.currency: {wrong}")
    interval = entry.get("interval")
    if not isinstance(interval, str) or interval not in INTERVALS:
        problems.append(f"{where}.interval: must be one of {', '.join(INTERVALS)}, is {interval!r}")
    elif not _is_count(entry.get("interval_count", 1), INTERVALS[interval]):
        problems.append(f"{where}.interval_count: must be a whole number from 1 to {INTERVALS[interval]}, is {entry['interval_count']!r}")
    return problems + _form_problems(entry, where)


def _form_problems(entry: Mapping[str, Any], where: str) -> list[str]:
    """One amount, perhaps for a package, or tiers: never both."""
    problems = []
    tiered, package, rounding = "tiers" in entry or "tiers_mode" in entry, entry.get("package"), entry.get("round")
    if tiered and ("amount" in entry or package is not None):
        problems.append(f"{where}: has tiers and an amount or package; Stripe takes one or the other")
    if not tiered and "amount" not in entry:
        problems.append(f'{where}.amount: is missing; write amount = "0.04", or tiers_mode and tiers')
    if package is not None and not _is_count(package, _UNITS_MAX):
        problems.append(f"{where}.package: must be a whole number from 1 to {_UNITS_MAX}, is {package!r}")
    if (package is None) != (rounding is None):
        problems.append(f'{where}: package and round go together; write package = 1000 and round = "up" (or "down")')
    if rounding is not None and rounding not in {"up", "down"}:
        problems.append(f'{where}.round: must be "up" or "down", is {rounding!r}')
    if tiered and entry.get("tiers_mode") not in {"graduated", "volume"}:
        problems.append(f'{where}.tiers_mode: must be "graduated" or "volume", is {entry.get("tiers_mode")!r}')
    tiers = entry.get("tiers", [])
    if tiered and not (isinstance(tiers, list) and 1 <= len(tiers) <= TIERS_MAX and all(isinstance(tier, dict) for tier in tiers)):
        problems.append(f'{where}.tiers: must be a list of 1 to {TIERS_MAX} tables such as {{up_to = 1000, amount = "0.01"}}')
    return problems


def _read_price(entry: Mapping[str, Any], where: str) -> tuple[Price | None, list[str]]:
    """A price whose form was found right; its amounts may still be wrong."""
    currency, problems = entry["currency"], list[str]()
    amount, tiers = None, tuple[Tier, ...]()
    if "tiers" in entry:
        tiers = _read_tiers(entry["tiers"], currency, f"{where}.tiers", problems)
    else:
        amount = _read_amount(entry["amount"], currency, f"{where}.amount", problems)
    if problems:
        return None, problems
    return (
        Price(
            key=entry["key"],
            product=entry["product"],
            meter=entry["meter"],
            currency=currency,
            interval=entry["interval"],
            interval_count=entry.get("interval_count", 1),
            unit_amount=amount,
            package=Package(entry["package"], entry["round"]) if "package" in entry else None,
            tiers_mode=entry.get("tiers_mode"),
            tiers=tiers,
        ),
        [],
    )


def _read_tiers(entries: Sequence[Mapping[str, Any]], currency: str, where: str, problems: list[str]) -> tuple[Tier, ...]:
    tiers: list[Tier] = []
    end = 0
    for position, entry in enumerate(entries, start=1):
        here = f"{where}[{position}]"
        problems += _unknown(entry, _TIER_KEYS, here)
        if not {"amount", "flat_amount"} & entry.keys():
            problems.append(f"{here}: needs an amount (of each unit), a flat_amount (of the tier), or both")
        up_to = _read_end(entry.get("up_to"), end, here, problems, is_last=position == len(entries))
        end = up_to or end
        unit = _read_amount(entry["amount"], currency, f"{here}.amount", problems) if "amount" in entry else Decimal(0)
        flat = _read_amount(entry["flat_amount"], currency, f"{here}.flat_amount", problems) if "flat_amount" in entry else Decimal(0)
        if flat != flat.to_integral_value():
            problems.append(f"{here}.flat_amount: must be whole in the smallest unit of {currency}, is {entry['flat_amount']!r}")
        tiers.append(Tier(up_to, unit, flat))
    return tuple(tiers)


def _read_end(up_to: object, previous: int, where: str, problems: list[str], *, is_last: bool) -> int | None:
    if up_to == UP_TO:
        if not is_last:
            problems.append(f'{where}.up_to: only the last tier is without end ("{UP_TO}")')
        return None
    if is_last:
        problems.append(f'{where}.up_to: the last tier must be without end: up_to = "{UP_TO}"')
    if not isinstance(up_to, int) or isinstance(up_to, bool) or not previous < up_to <= _UNITS_MAX:
        problems.append(f"{where}.up_to: must be a whole number above {previous}, up to {_UNITS_MAX}, is {up_to!r}")
        return None
    return up_to


def _read_amount(amount: object, currency: str, where: str, problems: list[str]) -> Decimal:
    """In smallest units; 0 and a problem when it is none."""
    if not isinstance(amount, str):
        problems.append(f'{where}: must be a text in the main unit of {currency}, such as "0.04", so that no digit changes; is {amount!r}')
        return Decimal(0)
    try:
        return smallest_units(amount, currency)
    except ValueError as error:
        problems.append(f"{where}: {error}")
        return Decimal(0)


def _tables(document: Mapping[str, Any], name: str, most: int) -> tuple[list[tuple[str, Mapping[str, Any]]], list[str]]:
    entries = document.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return [], [f"{name}: must be tables, each under [[{name}]]"]
    problems = [f"{len(entries)} {name}; at most {most} are taken"] if len(entries) > most else []
    return [(f"{name}[{position}]", entry) for position, entry in enumerate(entries[:most], start=1)], problems


def _unknown(entry: Mapping[str, Any], known: Collection[str], where: str) -> list[str]:
    return [f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}" for key in sorted(entry.keys() - set(known))]


def _names(entry: Mapping[str, Any], lengths: Mapping[str, int], where: str) -> list[str]:
    return [
        f"{where}.{key}: must be a text of 1 to {longest} characters, is {entry.get(key)!r}"
        for key, longest in lengths.items()
        if not (isinstance(value := entry.get(key), str) and 0 < len(value) <= longest and value.isprintable() and value == value.strip())
    ]


def _twice(keys: Sequence[str], name: str) -> list[str]:
    return [f"{name}: key {key!r} is used twice" for key in sorted({key for key in keys if keys.count(key) > 1})]


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
