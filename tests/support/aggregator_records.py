"""Records of usage.events as a test describes them, their bytes, and a naive model of what must become of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson
from taximeter_emitter.wire.batch import NO_ID, Batch, encode_batch
from taximeter_emitter.wire.event import Dimensions, fingerprint
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS

from aggregator.core.counting_rules import CountingRules
from metering.folds.catalogue_timeline import always
from metering.records.meters import Catalogue, Meter
from tests.support.batch_forms import in_columns

START_MS = 1_780_000_000_000
HORIZON_MS = 6 * HOUR_MS
EVENTS, TALLIES = "usage.events", "usage.tallies"
ODD_NUMBERS: list[Any] = [0, 1, 19, 20, -1, 2**64, 2**70, 1.0, 1.5, 1e300, True, False, None, "1", [], {}]
"""Numbers that a batch may have, four, and then what is none."""
METERS = [Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",))]


def rules(**changes: Any) -> CountingRules:
    """Customers whose name begins with `away` belong to partition 1, all others to partition 0."""
    about: dict[str, Any] = {
        "topic": EVENTS,
        "timeline": always(Catalogue(METERS)),
        "partition_of": lambda customer: int(customer.startswith("away")),
        "instance": "test",
        "deduplication_horizon_ms": HORIZON_MS,
    }
    return CountingRules(**about | changes)


@dataclass(frozen=True)
class Event:
    """`event_id` None: only its number identifies it (batches). `stamped`: its emitter set its time (batches)."""

    event_id: str | None
    customer: str
    usage: tuple[tuple[str, int], ...]
    model: str
    time_ms: int
    stamped: bool = False

    @property
    def content(self) -> object:
        """What makes two events of one identity the same."""
        return self.model, tuple(pair for pair in self.usage if pair[1])


@dataclass(frozen=True)
class Single:
    """A record with one event. `form`: own, structured or binary CloudEvent."""

    event: Event
    form: str


@dataclass(frozen=True)
class Numbered:
    """A batch of an emitter."""

    emitter: str
    first_seq: int
    events: tuple[Event, ...]
    partition: int = 0


@dataclass(frozen=True)
class Beat:
    """A heartbeat."""

    emitter: str
    next_seq: int
    final: bool
    partition: int = 0


@dataclass(frozen=True)
class Garbage:
    """A record that cannot be read, how many events it stands for, and why it is refused."""

    value: bytes | None
    events: int
    reason: str


Item = Single | Numbered | Beat | Garbage


def encode(item: Item) -> tuple[bytes | None, tuple[tuple[str, bytes], ...]]:
    """Value and headers of the record."""
    match item:
        case Garbage(value):
            return value, ()
        case Beat(emitter, next_seq, final, partition):
            return encode_batch(Batch(emitter=emitter, partition=partition, first_seq=next_seq, count=0, final=final)), ()
        case Numbered():
            # In both forms, and the same item always in the same.
            return (in_columns(_batch(item)) if item.first_seq % 2 else _batch(item)), ()
        case Single(event, form):
            return _single(event, form)


def _single(event: Event, form: str) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    time = datetime.fromtimestamp(event.time_ms // 1000, UTC).replace(microsecond=event.time_ms % 1000 * 1000).isoformat()
    data = {"customer": event.customer, "usage": dict(event.usage), "dimensions": {"model": event.model}}
    attributes = {"specversion": "1.0", "type": "usage", "source": "s", "id": event.event_id or "", "time": time}
    match form:
        case "own":
            return orjson.dumps({"id": event.event_id, "source": "s", "time": time} | data), ()
        case "structured":
            return orjson.dumps(attributes | {"data": data}), ()
        case _:
            return orjson.dumps(data), tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())


def _batch(batch: Numbered) -> bytes:
    series: dict[tuple[str, Dimensions], int] = {}
    at = [series.setdefault((event.customer, (("model", event.model),)), len(series)) for event in batch.events]
    names = sorted({name for event in batch.events for name, _ in event.usage})
    base = min(event.time_ms for event in batch.events)
    stamped = [int(event.stamped) for event in batch.events]
    ids = b"".join(NO_ID if event.event_id is None else fingerprint("s", event.event_id) for event in batch.events)
    return encode_batch(
        Batch(
            emitter=batch.emitter,
            partition=batch.partition,
            first_seq=batch.first_seq,
            count=len(batch.events),
            customers=[customer for customer, _ in series],
            dimensions=[dimensions for _, dimensions in series],
            series_dimensions=list(range(len(series))),
            at=at,
            base_time_ms=base,
            time=[event.time_ms - base for event in batch.events],
            usage={name: [dict(event.usage).get(name, 0) for event in batch.events] for name in names},
            stamped=stamped if 0 < sum(stamped) < len(stamped) else bool(stamped[0]),
            ids=ids if ids.strip(b"\0") else b"",
        )
    )


@dataclass
class Outcome:
    """What became of the events of some records. `past`: known ids that are past the horizon, so duplicate and dead-lettered are both right."""

    counted: int = 0
    duplicates: int = 0
    forwarded: int = 0
    past: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str, Dimensions, int]] = field(default_factory=Counter)


class Model:
    """Remembers everything for ever, in dictionaries."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, str], object] = {}
        self.numbers: set[tuple[str, int]] = set()

    def count(self, items: Sequence[tuple[Item, int]]) -> Outcome:
        """What must become of these items, each with the log time of its record."""
        outcome = Outcome()
        for item, log_time_ms in items:
            match item:
                case Garbage(_, events, reason):
                    outcome.dead[reason] += events
                case Single(event):
                    self._event(outcome, event, log_time_ms, single=True)
                case Numbered(emitter, first_seq, events, partition) if partition == 0:
                    for number, event in enumerate(events, first_seq):
                        if (emitter, number) in self.numbers:
                            outcome.duplicates += 1
                            continue
                        self.numbers.add((emitter, number))
                        self._event(outcome, event, log_time_ms, single=False)
                case Numbered(_, _, events):
                    outcome.dead["wrong_partition"] += len(events)
                case Beat():
                    pass
        return outcome

    def _event(self, outcome: Outcome, event: Event, log_time_ms: int, *, single: bool) -> None:
        if event.stamped and not single and 0 < event.time_ms - log_time_ms <= HOUR_MS:
            event = replace(event, time_ms=log_time_ms)
        reason = self._reason(event, log_time_ms, single=single)
        if reason == "forwarded":
            outcome.forwarded += 1
        elif reason is not None:
            outcome.dead[reason] += 1
        elif event.event_id is not None and (event.customer, event.event_id) in self.ids:
            if event.time_ms < log_time_ms - HORIZON_MS:
                outcome.past += 1
            elif self.ids[event.customer, event.event_id] == event.content:
                outcome.duplicates += 1
            else:
                outcome.dead["conflict"] += 1
        elif event.event_id is not None and event.time_ms < log_time_ms - HORIZON_MS:
            outcome.dead["past_horizon"] += 1
        else:
            if event.event_id is not None:
                self.ids[event.customer, event.event_id] = event.content
            self._add(outcome, event)

    @staticmethod
    def _reason(event: Event, log_time_ms: int, *, single: bool) -> str | None:
        if event.time_ms > log_time_ms + 5 * MINUTE_MS:
            return "in_future"
        if event.event_id is None and event.time_ms < log_time_ms - 35 * DAY_MS:
            return "past_horizon"
        if {name for name, quantity in event.usage if quantity} == {"mystery"}:
            return "unknown_usage_field"
        if event.customer.startswith("away"):
            return "forwarded" if single else "wrong_partition"
        return None

    @staticmethod
    def _add(outcome: Outcome, event: Event) -> None:
        outcome.counted += 1
        usage = dict(event.usage)
        for meter in METERS:
            quantity = sum(usage.get(name, 0) for name in meter.fields)
            if quantity:
                dimensions = (("model", event.model),) if meter.dimensions else ()
                outcome.rows[event.customer, meter.event_name, dimensions, event.time_ms // 60_000 * 60_000] += quantity


def small_batch(emitter: str, first_seq: int, events: Sequence[Event], now_ms: int) -> bytes:
    """The value of a batch in lists; the times of its events count from now."""
    moved = tuple(replace(event, time_ms=now_ms + event.time_ms) for event in events)
    # An even number has this form; the record is numbered right afterwards.
    value, _ = encode(Numbered(emitter, 0, moved))
    assert value is not None
    return orjson.dumps(orjson.loads(value) | {"first_seq": first_seq})
