"""Which billing period usage falls into: what is known of the periods of each customer's subscriptions. Pure: no I/O, and times are arguments.

Stripe puts a meter event into the period that contains its timestamp, and a period begins at an arbitrary second (current_period_start and
current_period_end of a subscription's items). Usage is counted in minutes of UTC, so each minute belongs to the period in which it begins,
and a meter event is made of minutes of one period. Two timestamps need care (docs/decisions/0005-billing-periods.md):

- A minute that begins with a period is reported one second later: whether the second of the boundary itself belongs to the old or the new
  period is not documented.
- The minute in which a subscription starts, when no earlier period of that customer covers its begin, would be billed by nobody; it is
  reported one second after the start (in the last second of the minute if that would be in the next).

What is not known changes nothing: minutes of a customer without boundaries merge freely and are reported at their start.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.customer_links import BilledCustomers, EachItsOwn

CUSTOMERS_MAX: Final = 300_000
BOUNDARIES_MAX: Final = 48
SPANS_MAX: Final = 24

_MINUTE_S: Final = MINUTE_MS // 1000
_TIME_S_MAX: Final = 10**11

Side = tuple[int, int]
"""The minutes between two neighbouring known boundaries: the first one (0: all before), and the first that is beyond (0: none). Two minutes of
the same side have no boundary between them that was known when either was asked for, even when more became known meanwhile."""

ALWAYS: Final[Side] = (0, 0)

Span = tuple[int, int]
"""Start and end, in Unix seconds, of an unbroken run of billing periods; the end is as far as it is known."""


@dataclass(frozen=True, slots=True)
class SubscriptionPeriods:
    """What one subscription says about its customer's periods, in Unix seconds. `boundaries` hold `span`'s start and end."""

    customer: str
    span: Span
    boundaries: frozenset[int]


def read_subscription(document: Mapping[str, Any]) -> SubscriptionPeriods | None:
    """From Stripe's subscription object, as lists and webhooks carry it; None if it bills no metered price, or is not as Stripe writes it.

    Every metered item counts, whichever meter it has: a boundary too many costs a few more meter events. The periods stand on the items,
    and on the subscription itself in versions of the API before 2025-03-31.
    """
    customer = document.get("customer")
    if isinstance(customer, Mapping):
        customer = customer.get("id")
    items = [item for item in _rows(document) if _is_metered(item)]
    if not isinstance(customer, str) or not customer or not items:
        return None
    places = [document, *items]
    starts = {second for place in places for second in _seconds(place, "current_period_start")}
    ends = {second for place in places for second in _seconds(place, "current_period_end")}
    first = min([*_seconds(document, "start_date"), *starts], default=None)
    ended = next(iter(_seconds(document, "ended_at")), None)
    last = ended if ended is not None else max(ends, default=None)
    if first is None or last is None or last <= first:
        return None
    boundaries = frozenset(second for second in starts | ends if first < second < last) | {first, last}
    return SubscriptionPeriods(customer, (first, last), boundaries)


@dataclass(frozen=True, slots=True)
class _CustomerPeriods:
    """Of one customer, all sorted. Usage from the minute `entries[i]` on is past the next boundary; that minute is reported at `times[i]`."""

    spans: tuple[Span, ...]
    boundaries: tuple[int, ...]
    entries: tuple[int, ...]
    times: tuple[int, ...]


class BillingPeriods:
    """The boundaries that are known, by customer.

    Bounded: of one customer the newest BOUNDARIES_MAX boundaries and SPANS_MAX spans are kept (more days than Stripe takes usage for);
    a new customer beyond `customers_max` is not taken in and counted in `refused`, and its usage is reported as if nothing were known.
    `changes` counts what was learnt: while it stays the same, so does every answer.

    `links` says which Stripe customer is billed for a customer that is asked about. What is learnt is about Stripe customers.
    """

    def __init__(self, customers_max: int = CUSTOMERS_MAX, *, links: BilledCustomers | None = None) -> None:
        self.refused = 0
        self.links: BilledCustomers = EachItsOwn() if links is None else links
        self._learnt = 0
        self._customers_max = customers_max
        self._known: dict[str, _CustomerPeriods] = {}

    def __len__(self) -> int:
        """How many customers have known periods."""
        return len(self._known)

    @property
    def changes(self) -> int:
        """See above."""
        return self._learnt + self.links.changes

    def learn(self, found: SubscriptionPeriods) -> None:
        """Add what a subscription says. One that starts in the same second as a known one of the customer takes its place, and its end."""
        known = self._known.get(found.customer)
        if known is None:
            if len(self._known) >= self._customers_max:
                self.refused += 1
                return
            known = _CustomerPeriods((), (), (), ())
        spans = tuple(sorted({**dict(known.spans), found.span[0]: found.span[1]}.items())[-SPANS_MAX:])
        boundaries = tuple(sorted({*known.boundaries, *found.boundaries})[-BOUNDARIES_MAX:])
        if (spans, boundaries) == (known.spans, known.boundaries):
            return
        self._learnt += 1
        told = _told_times(boundaries, spans)
        self._known[found.customer] = _CustomerPeriods(spans, boundaries, tuple(told), tuple(told.values()))

    def side(self, customer: str, minute_ms: int) -> Side:
        """The side that the minute is on which begins then."""
        known = self._of(customer)
        if known is None:
            return ALWAYS
        entries = known.entries
        place = bisect_right(entries, minute_ms // 1000)
        return entries[place - 1] if place else 0, entries[place] if place < len(entries) else 0

    def event_time_ms(self, customer: str, minute_ms: int) -> int:
        """The time to report to Stripe for usage of this minute and later ones on its side; it is within the minute."""
        known = self._of(customer)
        if known is None:
            return minute_ms
        place = bisect_right(known.entries, minute_ms // 1000) - 1
        return known.times[place] * 1000 if place >= 0 and known.entries[place] * 1000 == minute_ms else minute_ms

    def since_s(self, customer: str, time_ms: int) -> int:
        """The last known boundary (Unix seconds) up to this time, to the second; 0 if there is none."""
        known = self._of(customer)
        if known is None:
            return 0
        place = bisect_right(known.boundaries, time_ms // 1000)
        return known.boundaries[place - 1] if place else 0

    def second_ms(self, customer: str, time_ms: int) -> int:
        """The time (ms) to report to Stripe for what happened then: its second, but never that of a boundary."""
        second = time_ms // 1000
        return 1000 * (second + (second == self.since_s(customer, time_ms)))

    def end_s(self, customer: str, time_ms: int) -> int | None:
        """The end (Unix seconds) of the billing period that contains this event time; None if no known one does."""
        known = self._of(customer)
        if known is None:
            return None
        second = time_ms // 1000
        place = bisect_right(known.boundaries, second)
        return known.boundaries[place] if place < len(known.boundaries) and _is_covered(known.spans, second) else None

    def customers(self) -> Iterator[str]:
        """Those that are known."""
        return iter(self._known)

    def covered(self, customer: str) -> Sequence[Span]:
        """The unbroken runs of billing periods of a known customer, sorted; they may overlap."""
        return self._known[customer].spans

    def last_boundary_s(self, customer: str, time_s: int) -> int:
        """The last boundary (Unix seconds) of a known customer up to this time; 0 if there is none."""
        boundaries = self._known[customer].boundaries
        place = bisect_right(boundaries, time_s)
        return boundaries[place - 1] if place else 0

    def soonest_end_s(self, usage: Iterable[tuple[str, int]]) -> int | None:
        """The soonest end (Unix seconds) of a period, over or not, that has some of this usage: customers and event times in ms."""
        return min((end for end in (self.end_s(customer, time_ms) for customer, time_ms in usage) if end is not None), default=None)

    def _of(self, customer: str) -> _CustomerPeriods | None:
        billed = self.links.of(customer)
        return None if billed is None else self._known.get(billed)

    def next_end_s(self, now_s: int, is_ours: Callable[[str], bool]) -> int | None:
        """The soonest known boundary (Unix seconds) after now, of the customers that are ours. `is_ours` is asked of few."""
        soonest: int | None = None
        for customer, known in self._known.items():
            place = bisect_right(known.boundaries, now_s)
            if place == len(known.boundaries) or (soonest is not None and known.boundaries[place] >= soonest):
                continue
            if is_ours(customer):
                soonest = known.boundaries[place]
        return soonest


def _told_times(boundaries: Sequence[int], spans: Sequence[Span]) -> dict[int, int]:
    """When to report each minute that begins a side, in order."""
    starts = {start for start, _ in spans}
    told: dict[int, int] = {}
    for boundary in boundaries:
        minute = boundary - boundary % _MINUTE_S
        if boundary == minute or (boundary in starts and not _is_covered(spans, minute)):
            told[minute] = min(boundary + 1, minute + _MINUTE_S - 1)
        else:
            # The minute cannot be split: it stays with the period that it begins in.
            told.setdefault(minute + _MINUTE_S, minute + _MINUTE_S)
    return dict(sorted(told.items()))


def _is_covered(spans: Sequence[Span], second: int) -> bool:
    return any(start <= second < end for start, end in spans)


def _rows(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = document.get("items")
    rows = items.get("data") if isinstance(items, Mapping) else None
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, Sequence) else []


def _is_metered(item: Mapping[str, Any]) -> bool:
    price = item.get("price")
    recurring = price.get("recurring") if isinstance(price, Mapping) else None
    return isinstance(recurring, Mapping) and recurring.get("usage_type") == "metered"


def _seconds(place: Mapping[str, Any], name: str) -> list[int]:
    value = place.get(name)
    return [value] if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _TIME_S_MAX else []
