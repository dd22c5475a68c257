"""Amounts of money: between what people write and the integers, or decimal strings, that Stripe takes.

Stripe counts in a currency's smallest unit, which is a hundredth for most, the unit itself for some, a thousandth for a few
(https://docs.stripe.com/currencies).
"""

from decimal import Context, Decimal, DecimalException, Inexact
from typing import Final

DECIMALS_MAX: Final = 12  # of the smallest unit, in unit_amount_decimal and flat_amount_decimal
AMOUNT_MAX: Final = Decimal(10) ** 12  # in smallest units: a typing error rather than a price

_NO_DECIMALS: Final = frozenset(["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"])
_THREE_DECIMALS: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
# Stripe's documentation has it among the currencies without decimals and among those that must be given with two.
_UNCLEAR: Final = frozenset({"ugx"})
_EXACT: Final = Context(prec=60, traps=[Inexact])
_TEXT_CHARS_MAX: Final = 40


def currency_problem(currency: object) -> str | None:
    """What is wrong with this as a currency; None if nothing is."""
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.islower()):
        return f'must be a currency in three small letters, such as "usd", is {currency!r}'
    if currency in _UNCLEAR:
        return f"{currency} is not taken: Stripe's documentation gives its smallest unit in two ways; make this price in Stripe's dashboard"
    return None


def decimals_of(currency: str) -> int:
    """How many decimals the main unit of a currency has at Stripe: 2 for usd, 0 for jpy, 3 for kwd."""
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2


def smallest_units(amount: str, currency: str) -> Decimal:
    """An amount in the main unit, as a person writes it ("0.04" US dollars), in smallest units (4 cents). Exact.

    Raises ValueError, in words, for what is no such amount: signs, exponents, separators, too many digits.
    """
    if len(amount) > _TEXT_CHARS_MAX or not amount.isascii() or not amount.replace(".", "", 1).isdigit():
        raise ValueError(f'must be digits with at most one point, such as "0.04", is {amount[:_TEXT_CHARS_MAX]!r}')
    try:
        exact = Decimal(amount).scaleb(decimals_of(currency), _EXACT)
    except DecimalException:
        raise ValueError(f"has too many digits: {amount!r}") from None
    exponent = exact.normalize(_EXACT).as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS_MAX:
        raise ValueError(f"has more than {DECIMALS_MAX + decimals_of(currency)} decimals, which is all that Stripe keeps: {amount!r}")
    if exact > AMOUNT_MAX:
        raise ValueError(f"is too large for a price: {amount!r}")
    return exact


def main_units(amount: Decimal | int, currency: str) -> str:
    """An amount of smallest units in the main unit, as a person writes it, with all of its decimals: 4 cents are "0.04"."""
    decimals = decimals_of(currency)
    exact = Decimal(amount).scaleb(-decimals, _EXACT)
    exponent = exact.normalize(_EXACT).as_tuple().exponent
    shown = max(decimals, -exponent if isinstance(exponent, int) else 0)
    return f"{exact:.{shown}f}"


def plain(amount: Decimal) -> str:
    """A decimal in the form that Stripe takes: digits and a point, no exponent, no zeros at the end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
