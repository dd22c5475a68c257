"""One `[[meters]]` table of the settings file: what may be in it, and what is wrong with it."""

from collections.abc import Mapping
from typing import Any, Final

from taximeter_emitter.wire.limits import NAME_CHARS_MAX, USAGE_FIELDS_MAX

from metering.formulas.dimension_filters import read_where
from metering.formulas.meter_formulas import Aggregate

EVENT_NAME_CHARS_MAX: Final = 100  # Stripe's limit for a meter's event_name and payload keys
CUSTOMER_KEY: Final = "stripe_customer_id"
VALUE_KEY: Final = "value"
_DISPLAY_NAME_CHARS_MAX: Final = 250  # Stripe's limit
_METER_KEYS: Final = frozenset(
    {"event_name", "display_name", "aggregate", "sum", "less", "where", "dimensions", "customer_key", "value_key"},
)
FORMULA_KEYS: Final = frozenset({"aggregate", "sum", "less"})


def entry_problems(entry: Mapping[str, Any], where: str) -> list[str]:
    """Everything that is wrong with one table. `where` is its place in the file."""
    problems = [f"{where}: unknown key {key!r}; known are {', '.join(sorted(_METER_KEYS))}" for key in sorted(entry.keys() - _METER_KEYS)]
    for key in ("event_name", "customer_key", "value_key", "display_name"):
        longest = _DISPLAY_NAME_CHARS_MAX if key == "display_name" else EVENT_NAME_CHARS_MAX
        if (key in entry or key == "event_name") and not is_name(entry.get(key), longest):
            problems.append(f"{where}.{key}: must be a string of 1 to {longest} characters, is {entry.get(key)!r}")
    problems += formula_problems(entry, where)
    if entry.get("aggregate") == Aggregate.LAST.value:
        problems += _last_problems(entry, where)
    if "dimensions" in entry:
        problems += _names_problems(entry["dimensions"], f"{where}.dimensions", least=0)
    if "where" in entry:
        problems += read_where(entry["where"], f"{where}.where")[1]
    customer_key, value_key = entry.get("customer_key", CUSTOMER_KEY), entry.get("value_key", VALUE_KEY)
    if customer_key == value_key:
        problems.append(f"{where}: customer_key and value_key are both {value_key!r}; a payload has each key once")
    reserved = {str(customer_key), str(value_key)}
    if isinstance(entry.get("dimensions"), list) and reserved & {str(name) for name in entry["dimensions"]}:
        problems.append(f"{where}.dimensions: {sorted(reserved)} are the payload keys of customer and value")
    return problems


def _last_problems(entry: Mapping[str, Any], where: str) -> list[str]:
    """What a meter of the latest value may not have, and what it must."""
    problems = []
    if entry.get("dimensions"):
        problems.append(
            f'{where}.dimensions: aggregate = "last" has none, because the last value of one set of dimensions would replace another\'s at Stripe;'
            " write one meter for each, by where"
        )
    if not entry.get("where"):
        problems.append(
            f'{where}.where: aggregate = "last" needs one, such as where = {{reading = "storage"}}: each event that the meter takes is a reading,'
            " and an event without the field would be a reading of 0"
        )
    return problems


def formula_problems(entry: Mapping[str, Any], where: str) -> list[str]:
    """What is wrong with `aggregate`, `sum` and `less`."""
    aggregate = entry.get("aggregate", Aggregate.SUM.value)
    if aggregate not in {each.value for each in Aggregate}:
        return [f'{where}.aggregate: must be "sum", "count" or "last", is {aggregate!r}']
    is_sum = aggregate != Aggregate.COUNT.value
    problems = _names_problems(entry.get("sum", []), f"{where}.sum", least=1) if is_sum or "sum" in entry else []
    if "less" in entry:
        if not is_sum:
            problems.append(f'{where}.less: only a sum can be less something; aggregate = "count" counts events')
        problems += _names_problems(entry["less"], f"{where}.less", least=1)
    if not problems:
        both = sorted(set(entry.get("sum", ())) & set(entry.get("less", ())))
        problems += [f"{where}: {name!r} is in sum and in less, so it comes to nothing" for name in both]
    return problems


def _names_problems(names: object, where: str, *, least: int) -> list[str]:
    if not isinstance(names, list) or not least <= len(names) <= USAGE_FIELDS_MAX or not all(is_name(name, NAME_CHARS_MAX) for name in names):
        return [f"{where}: must be a list of 1 to {USAGE_FIELDS_MAX} names, is {names!r}"]
    return [f"{where}: names a field twice: {names!r}"] if len(set(names)) != len(names) else []


def is_name(value: object, chars_max: int) -> bool:
    """Whether this is a printable text of 1 to `chars_max` characters."""
    return isinstance(value, str) and 0 < len(value) <= chars_max and value.isprintable()
