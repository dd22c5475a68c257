"""How an event waits in the emitter: checked when it is emitted, and turned into columns, many at once, when it is batched. Pure.

An event is what one call of emit gave and little more: what its kind has in common (a Form) was made when the first of the kind came. The
caller pays for every object that is made and every line of code that is touched here; after other code had the core, they come from memory.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from itertools import chain
from operator import attrgetter, index
from typing import Any, Final, Protocol, SupportsIndex, get_args

from taximeter_emitter.buffer.batching import EventColumns, dimension_bytes, event_bytes
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import Dimensions, check_text, fingerprint, parse_dimensions, parse_usage
from taximeter_emitter.wire.kept_ids import kept_id
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

_KNOWN_MAX: Final = 4_096
_ROUNDED_BYTES: Final = 16  # what the allocator adds to an object at most
# Its places in the queue, its time and its size; the number of its quantities takes _NUMBER_BYTES, and a few more for each of them.
_EVENT_BYTES: Final = 112
_NUMBER_BYTES: Final = 48
_QUANTITY_BITS: Final = QUANTITY_MAX.bit_length()
_QUANTITY_MASK: Final = (1 << _QUANTITY_BITS) - 1
_QUANTITY_BYTES: Final = 6


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Usage fields, sorted by name, and by how many bits the number of an event's quantities is shifted to have the quantity of each.

    `unknown`: those that `usage_fields` does not name, with the same.
    """

    fields: tuple[str, ...]
    shifts: tuple[int, ...]
    unknown: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What events of one kind have in common. `size`: bytes that an event of it takes while it waits, without its customer."""

    layout: Layout
    dimensions: Dimensions
    size: int


class HasModelDump(Protocol):
    """A model of pydantic, such as the usage that clients of model servers return."""

    def model_dump(self) -> dict[str, Any]:
        """Its fields."""
        ...


GivenUsage = Mapping[str, SupportsIndex | None] | HasModelDump
"""What `emit` takes as usage. A field that is None is absent; whatever Python takes as an integer, but no bool, is one."""

Event = tuple[str, Form, int, str | None, int, int]
"""Customer, form, event time in ms (its one's complement if the caller gave it), id, quantities (each takes _QUANTITY_BITS of one number, the
first the highest), and size in bytes.

One number and no tuple: thousands of waiting tuples would set off Python's garbage collector in the threads that emit, some 20 us every few
hundred events and sometimes much longer. This tuple does not wait itself: see emit_buffer.
"""

EVENT_PARTS: Final = len(get_args(Event))

_LAYOUT: Final = attrgetter("layout")
_DIMENSIONS: Final = attrgetter("dimensions")


class EventEncoder:
    """Checks what `emit` is given. `usage_fields` None: any name will do. May be called by many threads at once.

    An unknown field costs its own quantity and not the event, unless nothing else is in it. It is carried along where it can be.
    `not_carried`: of how many events a field could not be.
    """

    def __init__(self, usage_fields: Collection[str] | None) -> None:
        self.not_carried: dict[str, int] = {}
        self._usage_fields = None if usage_fields is None else frozenset(usage_fields)
        # What was found good before: usage fields in the order in which they came, and whole dimensions. They come again and again.
        self._forms: dict[tuple[tuple[str, ...], Dimensions], Form] = {}
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def encode(self, customer: str, usage: GivenUsage, dimensions: Mapping[str, str] | None, event_id: str | None, time_ms: int) -> Event:
        """One event; what was given may change afterwards. `time_ms` as in Event. Raises EventRejected, TypeError or others for strange arguments."""
        if type(customer) is not str or not 0 < len(customer) <= CUSTOMER_CHARS_MAX or not customer.isprintable():
            check_text(customer, "customer", CUSTOMER_CHARS_MAX)
        # A copy, so that quantities and names stay in step when another thread adds one.
        given: dict[str, Any] = usage.copy() if type(usage) is dict else _as_dict(usage)
        quantities = 0
        for quantity in given.values():
            if type(quantity) is not int or not 0 <= quantity <= QUANTITY_MAX:
                given = self._plain(given)
                quantities = reduce(_joined, given.values(), 0)
                break
            quantities = quantities << _QUANTITY_BITS | quantity
        if dimensions and type(dimensions) is not dict:
            dimensions = dict(dimensions)
        try:
            form = self._forms[tuple(given), tuple(dimensions.items()) if dimensions else ()]
        except (KeyError, TypeError):
            # Not seen before; or a value that cannot be hashed, which is no string: the words for it are found there.
            form = self._learn(given, dict(dimensions or {}))
        size = form.size + customer.__sizeof__()
        if event_id is not None:
            size += check_text(event_id, "event_id", EVENT_ID_CHARS_MAX).__sizeof__() + _ROUNDED_BYTES
        return customer, form, time_ms, event_id, quantities, size

    def _plain(self, usage: dict[str, Any]) -> dict[str, int]:
        """Usage that has more than plain integers, made plain: without None, and whatever counts as an integer is one. Raises EventRejected."""
        plain: dict[str, int] = {}
        strange = []
        for name, quantity in usage.items():
            number = _integer(quantity)
            if quantity is None:
                continue
            if self._is_known(name) or (type(number) is int and 0 <= number <= QUANTITY_MAX):
                plain[name] = number
            else:
                strange.append(name)
        self._check_usage(plain, strange)
        for name in strange:
            self.not_carried[name] = self.not_carried.get(name, 0) + 1
        return plain

    def _check_usage(self, usage: dict[str, int], strange: Sequence[str] = ()) -> None:
        """`strange`: unknown fields without a quantity that could be carried. Raises EventRejected."""
        for name in (*usage, *strange):
            if not isinstance(name, str):
                raise EventRejected(Reason.WRONG_TYPE, "usage", f"names of usage fields are strings; one is {type(name).__name__}")
        if not self._knows_any(usage) and (strange or any(usage.values())):
            raise EventRejected(Reason.UNKNOWN_USAGE_FIELD, f"usage.{[*usage, *strange][0][:40]}", "usage_fields names no field of this event")
        parse_usage({name: usage[name] for name in self._carried(tuple(usage))}, "usage")

    def _carried(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The fields that an event keeps: those that are known, and others that an event may have."""
        few = self._usage_fields is None or len(names) <= USAGE_FIELDS_MAX
        return tuple(name for name in names if self._is_known(name) or (few and 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()))

    def _knows_any(self, names: Iterable[str]) -> bool:
        return self._usage_fields is None or any(map(self._is_known, names))

    def _is_known(self, name: str) -> bool:
        return self._usage_fields is None or name in self._usage_fields

    def _learn(self, usage: dict[str, int], dimensions: dict[str, str]) -> Form:
        """Check the names and the dimensions, and remember them. What is returned has the bytes of what is remembered in its size."""
        self._check_usage(usage)
        parsed = parse_dimensions(dimensions, "dimensions")
        # Without what a subclass adds, such as that of an enumeration.
        names = tuple(map(str.__str__, usage))
        known = tuple((str.__str__(key), text) for key, text in parsed)
        form = Form(self._layout(names), known, _EVENT_BYTES + _NUMBER_BYTES + _QUANTITY_BYTES * len(names) + _ROUNDED_BYTES)
        if self._knows_any(names):
            _remember(self._forms, (names, tuple(dimensions.items())), form)
        # Each string in the form, and in what it is found by.
        strings = [*names, *chain.from_iterable(known)]
        return replace(form, size=form.size + sum(2 * (string.__sizeof__() + _ROUNDED_BYTES) for string in strings))

    def _layout(self, names: tuple[str, ...]) -> Layout:
        layout = self._layouts.get(names)
        if layout is None:
            shifts = {name: _QUANTITY_BITS * (len(names) - 1 - place) for place, name in enumerate(names)}
            carried = tuple(sorted(self._carried(names)))
            unknown = tuple((name, shifts[name]) for name in names if not self._is_known(name))
            layout = Layout(carried, tuple(shifts[name] for name in carried), unknown)
            _remember(self._layouts, names, layout)
        return layout


class EventDecoder:
    """Turns events into columns. `source` is that of all of them, whose ids are kept as texts if `keep_ids`.

    `unknown_usage`: in how many events each unknown field had a quantity.
    """

    def __init__(self, source: str, *, keep_ids: bool = False) -> None:
        self._source = source
        self._keep_ids = keep_ids
        self.unknown_usage: Counter[str] = Counter()

    def decode(self, parts: Sequence[Any], partition_cache: PartitionCache) -> Iterator[tuple[int, EventColumns]]:
        """The events of each partition and layout, in their order. `parts`: those of at least one event, one after the other."""
        customers, forms, times, ids, quantities = (parts[place::EVENT_PARTS] for place in range(EVENT_PARTS - 1))
        stamped = [time_ms >= 0 for time_ms in times]
        if not all(stamped):
            times = [time_ms if time_ms >= 0 else ~time_ms for time_ms in times]
        dimensions = list(map(_DIMENSIONS, forms))
        dimensions_size = max(map(dimension_bytes, set(dimensions)))
        customer_chars = max(map(len, customers))
        fingerprints = [NO_ID if event_id is None else fingerprint(self._source, event_id) for event_id in ids]
        kept = ["" if event_id is None else kept_id(self._source, event_id) for event_id in ids] if self._keep_ids else ()
        kept_chars = max(map(len, kept), default=0)
        by_layout: defaultdict[Layout, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, (layout, partition) in enumerate(zip(map(_LAYOUT, forms), map(partition_cache.of, customers), strict=True)):
            by_layout[layout][partition].append(place)
        for layout, by_partition in by_layout.items():
            for name, shift in layout.unknown:
                self.unknown_usage[name] += sum(bool(quantities[place] >> shift & _QUANTITY_MASK) for place in chain(*by_partition.values()))
            columns = [[number >> shift & _QUANTITY_MASK for number in quantities] for shift in layout.shifts]
            row_bytes = event_bytes(fields=len(layout.fields), customer_chars=customer_chars, dimensions=dimensions_size, kept_chars=kept_chars)
            events = EventColumns(layout.fields, customers, dimensions, times, stamped, fingerprints, columns, row_bytes, kept)
            for partition, places in by_partition.items():
                yield partition, events if len(places) == len(customers) else events.at(places)


def _as_dict(usage: object) -> dict[str, Any]:
    """Usage as libraries give it: a mapping, or an object with fields, such as a model of pydantic or a dataclass. Raises EventRejected."""
    given: Any = usage
    try:
        if isinstance(usage, Mapping):
            return dict(given)
        if callable(getattr(usage, "model_dump", None)):
            return dict(given.model_dump())
        if is_dataclass(usage):
            return {field.name: getattr(usage, field.name) for field in fields(usage)}
        return dict(given)
    except (TypeError, ValueError):
        reason = Reason.NULL_VALUE if usage is None else Reason.WRONG_TYPE
        raise EventRejected(reason, "usage", f"must be a mapping of field names to integers, is {type(usage).__name__}") from None


def _integer(quantity: Any) -> Any:
    """An integer for what Python takes as one, such as those of numpy; all else as it is."""
    if isinstance(quantity, bool):
        return quantity
    try:
        return index(quantity)
    except TypeError:
        return quantity


def _joined(quantities: int, quantity: int) -> int:
    return quantities << _QUANTITY_BITS | quantity


def _remember(known: dict[Any, Any], key: object, value: object) -> None:
    if len(known) >= _KNOWN_MAX:
        known.clear()
    known[key] = value
