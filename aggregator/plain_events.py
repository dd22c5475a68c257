"""The quick way to read single events that are like many before them: what was checked of one need not be checked of the next."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from aggregator.deduplication import CONTENT_MASK, content_of, field_factor
from metering.event import Dimensions, UsageEvent, identity_prefix, parse_time
from metering.limits import EVENT_ID_CHARS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

KNOWN_MAX: Final = 50_000  # customers with their dimensions, and sources; the memory starts anew when it is full
_FIELDS: Final = 6  # id, source, time, customer, usage, dimensions: all of them, and nothing else


class PlainEvent(NamedTuple):
    """An event in our own form that belongs to this partition and names only fields of the catalogue, with its identity and content number."""

    event: UsageEvent
    fingerprint: bytes
    content: int


class PlainEvents:
    """Remembers the customers, dimensions and sources of events that went the long way and were well. `usage_fields`: the catalogue's."""

    def __init__(self, usage_fields: frozenset[str], is_home: Callable[[str], bool]) -> None:
        self._is_home = is_home
        self._factors: Mapping[str, int] = {
            name: field_factor(name) for name in usage_fields if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()
        }
        self._series: dict[tuple[str, tuple[tuple[str, Any], ...]], tuple[Dimensions, int]] = {}
        self._sources: dict[str, bytes] = {}

    def read(self, document: Any) -> PlainEvent | None:
        """The event of a decoded JSON value, exactly as the long way would read it; None if that way must be gone.

        Raises EventRejected for a time that cannot be read.
        """
        if type(document) is not dict or len(document) != _FIELDS:
            return None
        try:
            event_id, source, customer = document["id"], document["source"], document["customer"]
            usage, dimensions, time = document["usage"], document["dimensions"], document["time"]
        except KeyError:
            return None
        if type(event_id) is not str or not 0 < len(event_id) <= EVENT_ID_CHARS_MAX or not event_id.isprintable():
            return None
        if (
            type(usage) is not dict
            or not 0 < len(usage) <= USAGE_FIELDS_MAX
            or type(dimensions) is not dict
            or type(customer) is not str
            or type(source) is not str
        ):
            return None
        try:
            canonical, content = self._series[customer, tuple(dimensions.items())]
            prefix = self._sources[source]
            factors = self._factors
            for name, quantity in usage.items():
                if type(quantity) is not int or not 0 <= quantity <= QUANTITY_MAX:
                    return None
                content += factors[name] * quantity
        except (KeyError, TypeError):  # TypeError: a value of the dimensions that cannot be hashed, and is no string
            return None
        pairs = tuple(usage.items())
        if len(pairs) > 2 or (len(pairs) == 2 and pairs[0] > pairs[1]):
            pairs = tuple(sorted(pairs))
        event = UsageEvent(event_id, source, customer, parse_time(time, "time"), pairs, canonical)
        return PlainEvent(event, blake2b(prefix + event_id.encode(), digest_size=16).digest(), content & CONTENT_MASK)

    def learn(self, event: UsageEvent) -> None:
        """The long way found nothing wrong with this event."""
        if not event.source or not self._is_home(event.customer):
            return
        if len(self._series) >= KNOWN_MAX or len(self._sources) >= KNOWN_MAX:
            self._series.clear()
            self._sources.clear()
        known = (event.dimensions, content_of(event.customer, event.dimensions, ()))
        self._series[event.customer, event.dimensions] = known
        self._sources[event.source] = identity_prefix(event.source)
