"""What a meter of the latest value must bill, read from the raw topics: the latest event of each billing period. Knows nothing of the pipeline.

Every event is a reading of the meter, of a third of its quantity. Nobody knows whether Stripe's last value goes by timestamp or by receipt: the books
must say the same by both.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tests.simulation.journal import Journal
from tests.simulation.raw_records import BookEntry, RawRecord, read_record

LATEST = "stored"
SECOND = 1_000


class Told(NamedTuple):
    """A latest value of an intent."""

    customer: str
    time_ms: int
    value: int
    happened_ms: int


def read_latest(intent: Mapping[str, Any], name: str) -> list[Told]:
    """Those of one list of an intent."""
    found = intent.get("latest", {}).get(name, ())
    assert all(intent["meters"][meter] == LATEST for _, meter, *_ in found)
    return [Told(intent["customers"][customer], time_ms, value, happened_ms) for customer, _, time_ms, value, happened_ms, _ in found]


def is_latest(definition: Sequence[Sequence[Any]]) -> bool:
    """Whether a version of the catalogue has the meter."""
    return any(entry[0] == LATEST for entry in definition)


class LatestCheck:
    """All partitions, one after the other: a customer is in one of them."""

    def __init__(self, journal: Journal, boundaries: Mapping[str, Sequence[int]], say: Callable[[str, str], None], *, tells_latest: bool) -> None:
        self._tells_latest = tells_latest
        self._journal = journal
        self._boundaries = boundaries
        self._say = say
        self._truth: dict[tuple[str, int], tuple[int, int]] = {}  # by customer and period: when the latest happened, and its value
        self._excused: set[str] = set()  # customers of whom something was refused, given up or lost, which is named elsewhere
        self._tallied: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)  # when they happened, and values, that intents may tell

    def tally(self, where: str, tally: Mapping[str, Any], records: Sequence[RawRecord | None]) -> None:
        """An accepted tally that counts these records."""
        wanted: dict[tuple[str, int], list[int]] = {}
        for customer, happened_ms, value in self._readings(tally, records):
            at = customer, happened_ms // SECOND
            before = wanted.get(at, [happened_ms, 0, 0])
            wanted[at] = [max(happened_ms, before[0]), value if happened_ms >= before[0] else before[1], before[2] + 1]
            place = customer, self._period(customer, happened_ms)
            if happened_ms >= self._truth.get(place, (0, 0))[0]:
                self._truth[place] = happened_ms, value
        said = {(tally["customers"][c], time_ms // SECOND): [time_ms, value, events] for c, _, time_ms, value, events in tally.get("latest", ())}
        if said != wanted:
            self._say("unaccounted", f"{where} has the latest values {said}, the log {wanted}")
        for (customer, _), (happened_ms, value, _) in said.items():
            self._tallied[customer].add((happened_ms, value))

    def intent(self, where: str, entry: Mapping[str, Any]) -> None:
        """An accepted intent: it tells what tallies hold."""
        for name in ("meter_events", "unbillable", "carried", "superseded"):
            for told in read_latest(entry, name):
                if (told.happened_ms, told.value) not in self._tallied[told.customer]:
                    self._say("phantom", f"{where} tells {told}, which no tally holds")
                if name == "unbillable":
                    self._excused.add(told.customer)

    def excuse(self, customer: str) -> None:
        """Something of this customer's was refused, is in doubt, or was not recorded."""
        self._excused.add(customer)

    def books(self, lines: Sequence[BookEntry], billed: Mapping[str, Iterable[str]]) -> None:
        """In the end: by both readings Stripe has the latest value of each period. `billed` says of whom, by identifier.

        Nothing orders the values of two Stripe customers: where the link changed within a period, each has the latest that was told of it.
        """
        taken: defaultdict[tuple[str, int], list[BookEntry]] = defaultdict(list)
        for line in lines:
            if line.meter == LATEST:
                taken[line.customer, self._period(line.customer, line.time_ms)].append(line)
        for place in taken.keys() | self._truth.keys():
            customer, _ = place
            if customer in self._excused:
                continue
            found, truth = taken.get(place, []), self._truth.get(place)
            if truth is None or not found:
                self._say("phantom" if truth is None else "lost-write", f"{place}: Stripe has {found}, the latest value is {truth}")
                continue
            if (latest := _by_timestamp(found)) != truth[1]:
                self._say("unaccounted", f"{place}: the last is {latest} by timestamp, not {truth[1]}")
            for of, told in _by_stripe_customer(found, billed).items():
                if told[-1].value != (latest := _by_timestamp(told)):
                    self._say("unaccounted", f"{place}: the last of {of} is {latest} by timestamp, {told[-1].value} by receipt")

    def _readings(self, tally: Mapping[str, Any], records: Sequence[RawRecord | None]) -> Iterator[tuple[str, int, int]]:
        """Customer, time and value of each event that counts, in the order of the log."""
        if not self._tells_latest:
            return
        aside = {offset: frozenset(indexes) for offset, indexes in tally["set_aside"]}
        for record in records:
            if record is None:
                continue
            _, found, _ = read_record(record)
            out = set(range(len(found))) & _not_counted(tally, record.offset, len(found))
            gone = aside.get(record.offset)
            if gone is not None:
                out |= gone or set(range(len(found)))
            for index, event in enumerate(found):
                known = self._journal.known(event.customer, event.quantity)
                if index not in out and known is not None:
                    yield known.customer, known.time_in(record.timestamp), known.quantity // 3

    def _period(self, customer: str, time_ms: int) -> int:
        return bisect_right(self._boundaries.get(customer, ()), time_ms // SECOND)


def _by_timestamp(lines: Sequence[BookEntry]) -> int:
    """The value of the last one; of several at a time, of the last that came."""
    return max(enumerate(lines), key=lambda each: (each[1].time_ms, each[0]))[1].value


def _by_stripe_customer(lines: Sequence[BookEntry], billed: Mapping[str, Iterable[str]]) -> dict[tuple[str, ...], list[BookEntry]]:
    found: defaultdict[tuple[str, ...], list[BookEntry]] = defaultdict(list)
    for line in lines:
        found[tuple(sorted(billed.get(line.identifier, ())))].append(line)
    return found


def _not_counted(tally: Mapping[str, Any], offset: int, events: int) -> set[int]:
    found: set[int] = set()
    for start, offsets, first, count, _ in tally["not_counted"]:
        if start <= offset < start + offsets:
            found |= set(range(first, first + count)) if count else set(range(first, events))
    return found
