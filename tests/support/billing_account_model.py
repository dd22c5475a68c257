"""A model of what Stripe has after actions of a plan, with Stripe's own rules. Independent of the code that makes the calls."""

from collections.abc import Iterable
from dataclasses import replace

from billing.catalogue.account import Account, FoundMeter, FoundPrice, FoundProduct
from billing.catalogue.plan import (
    Action,
    ArchivePrice,
    ChangeProduct,
    CreateMeter,
    CreatePrice,
    CreateProduct,
    ReactivateMeter,
    ReactivatePrice,
    RenameMeter,
    terms_of,
)


def after(account: Account, actions: Iterable[Action]) -> Account:
    """The account after these actions. Asserts that Stripe would take each."""
    for action in actions:
        account = _after(account, action)
    return account


def _after(account: Account, action: Action) -> Account:
    match action:
        case CreateMeter(meter):
            assert account.meter(meter.event_name) is None, "an event name belongs to one meter"
            number = len(account.meters)
            made = FoundMeter(f"mtr_{number}", meter.event_name, meter.display_name, "sum", meter.customer_key, meter.value_key, None, active=True)
            return replace(account, meters=(*account.meters, made))
        case RenameMeter(identity, _, _, wanted):
            return replace(account, meters=tuple(replace(each, display_name=wanted) if each.id == identity else each for each in account.meters))
        case ReactivateMeter(identity):
            return replace(account, meters=tuple(replace(each, active=True) if each.id == identity else each for each in account.meters))
        case CreateProduct(product):
            return replace(
                account, products=(*account.products, FoundProduct(f"prod_{len(account.products)}", product.key, product.name, active=True))
            )
        case ChangeProduct(identity, _, _, wanted):
            return replace(
                account,
                products=tuple(replace(each, name=wanted, active=True) if each.id == identity else each for each in account.products),
            )
        case CreatePrice():
            return _with_price(account, action)
        case ReactivatePrice(identity):
            return replace(account, prices=tuple(replace(each, active=True) if each.id == identity else each for each in account.prices))
        case ArchivePrice(identity):
            return replace(account, prices=tuple(replace(each, active=False) if each.id == identity else each for each in account.prices))


def _with_price(account: Account, action: CreatePrice) -> Account:
    price = action.price
    (product,) = account.products_of(price.product)
    meter = account.meter(price.meter)
    assert meter is not None
    assert meter.active, "Stripe attaches no inactive meter to a price"
    assert action.product in {"", product.id}
    assert action.meter in {"", meter.id}
    holder = account.price(price.key)
    assert (None if holder is None else holder.id) == action.replaces, "a lookup key is taken over only where that was planned"
    others = tuple(replace(each, key="") if each.key == price.key else each for each in account.prices)
    made = FoundPrice(f"price_{len(others)}", price.key, price.key, active=True, terms=terms_of(price, product=product.id, meter=meter.id))
    return replace(account, prices=(*others, made))
