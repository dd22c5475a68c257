"""Everything that writes usage: services with the SDK, gateways with their clients, and producers that know only Kafka.

Each event goes into the journal before it is sent anywhere, and is marked acknowledged only when its producer got the acknowledgement.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from taximeter_emitter.buffer.batching import Batcher, PartitionBatch
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.partitioner import partition_of

from tests.simulation.journal import EVENTS_PER_CUSTOMER, Emitted, Journal
from tests.simulation.row_check import MYSTERY
from tests.simulation.world import EVENTS, HOUR, MINUTE, SECOND, World
from tests.support.batch_forms import in_columns

MODEL = (("model", "alpaca-7b"),)
DAY = 24 * HOUR
STAMPING = (0.0, 0.3, 1.0)  # how often a sender sets the time of an event itself, by a clock that may be ahead
AHEAD_MS = (0, 0, 0, 0, 20 * MINUTE, 50 * MINUTE, 3 * HOUR, 2 * DAY)  # how far that clock is
MYSTERIOUS = 0.06
KINDS = (
    ("cus",),
    16 * ("cus",) + ("cus_missing",) + 3 * ("cus_later",),
    ("cus", "cus", "cus_missing", "cus_later", "cus_later", "cus_later"),
)
"""What customers there are in a world: such that exist, that never will, and that are created at Stripe when their usage is there already."""
GARBAGE: tuple[bytes | None, ...] = (
    None,
    b"",
    b"{",
    b"null",
    b'["usage"]',
    b'{"id": "g1", "customer": "cus_1", "usage": {"input_tokens": 1.5}}',
    b'{"id": "g2", "customer": "cus_1", "usage": {"input_tokens": -1}}',
    b'{"id": "g3", "customer": "cus_1", "usage": {"input_tokens": NaN}}',
    b'{"id": "g4", "customer": "cus_1", "usage": {"input_tokens": true}}',
    b'{"id": "g5", "usage": {"input_tokens": 1}}',
    b'{"id": "g6", "customer": "cus_1", "usage": {"input_tokens": 1}, "surprise": 1}',
    b'{"taximeter": 1, "emitter": "e", "partition": 0, "first_seq": 0, "count": 2, "customers": []}',
)


class Customers:
    """Draws events: the customer, the quantity that tells it apart, and the time of use."""

    def __init__(self, world: World, journal: Journal, kinds: Sequence[str]) -> None:
        self._world = world
        self._kinds = kinds
        self._journal = journal
        self._made = 0
        self._next_digit: dict[str, int] = {}

    def event(self, identity: str, *, has_id: bool, age_ms: int, like: Emitted | None = None, customer: str | None = None) -> Emitted:
        """Make an event and write it down. `like`: of the same time and partition as this one. `customer`: any, if None."""
        rng = self._world.rng
        if customer is None:
            customer = self._customer() if like is None else self._neighbour(like)
        digit = self._next_digit[customer]
        if digit + 1 < EVENTS_PER_CUSTOMER:
            self._next_digit[customer] = digit + 1
        else:
            del self._next_digit[customer]
        event = Emitted(
            identity=identity,
            customer=customer,
            home=partition_of(customer, self._world.partitions),
            digit=digit,
            meters=("tokens", "requests") if rng.random() < 0.4 else ("tokens",),
            time_ms=like.time_ms if like is not None else self._world.now_ms - age_ms,
            has_id=has_id,
        )
        self._journal.write(event)
        return event

    def _customer(self) -> str:
        if len(self._next_digit) < 3 * self._world.partitions:
            return self._new_customer()
        return self._world.rng.pick(list(self._next_digit))

    def _new_customer(self) -> str:
        self._made += 1
        kind = self._world.rng.pick(self._kinds)
        name = f"{kind}_{self._made}"
        self._next_digit[name] = 0
        return name

    def _neighbour(self, event: Emitted) -> str:
        """A customer of the same partition, the same one while it has digits left: ids are only told apart within a partition."""
        return event.customer if event.customer in self._next_digit else self.next_to(event)

    def next_to(self, event: Emitted) -> str:
        """Another customer of the same partition."""
        found = [name for name in self._next_digit if name != event.customer and partition_of(name, self._world.partitions) == event.home]
        if found:
            return self._world.rng.pick(found)
        while partition_of(name := self._new_customer(), self._world.partitions) != event.home:
            continue
        return name


def usage_of(event: Emitted) -> tuple[tuple[str, int], ...]:
    """The usage fields of an event: its quantity once in each of its meters, for `tokens` in two parts; and one that spoils nothing."""
    output = event.quantity // 3
    usage = [("input_tokens", event.quantity - output), ("output_tokens", output)]
    if "requests" in event.meters:
        usage.append(("requests", event.quantity))
    if event.mystery:
        usage.append((MYSTERY, event.mystery))
    return tuple(usage)


class SendersClock:
    """Sets the times of events that come without one, this often, by a clock that is ahead."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._often = world.rng.pick(STAMPING)
        self._ahead_ms = world.rng.pick(AHEAD_MS) if self._often else 0

    def stamp(self, event: Emitted) -> None:
        """Perhaps it sets the time of this event. What it stamps keeps its time in each copy."""
        if self._often and self._world.chance(self._often):
            event.stamped = True
            event.time_ms += self._ahead_ms


def _mystery(world: World) -> int:
    return world.rng.between(1, 9) if world.chance(MYSTERIOUS) else 0


def _written(batch: PartitionBatch) -> bytes:
    """In both forms, although all batches here are small."""
    return in_columns(batch.value) if batch.count % 2 else batch.value


class Ages:
    """How long ago usage was: just `now` in this part of the cases, else late, as late as can be taken, later, or ahead of our clock."""

    def __init__(self, world: World, horizon_ms: int, now: float) -> None:
        self._rng = world.rng
        self._horizon_ms = horizon_ms
        self._now = now

    def draw(self, *, has_id: bool) -> int:
        """An age in milliseconds; below zero is in the future."""
        rng = self._rng
        if rng.random() < self._now:
            return rng.between(-2 * MINUTE, 5 * MINUTE)
        dice = rng.random()
        if dice < 0.45:
            return rng.below(self._horizon_ms + HOUR)
        if dice < 0.55:
            return -rng.between(4 * MINUTE, 20 * MINUTE)
        if has_id:
            return rng.below(2 * self._horizon_ms)
        return rng.between(35 * DAY - 4 * HOUR, 35 * DAY) if dice < 0.9 else rng.between(30 * DAY, 37 * DAY)


class SdkEmitter:
    """A service that emits through the SDK: numbered batches, resent until acknowledged, from a spool that may outlive its process.

    Some of its events have ids. These the host emits again after a crash, in a new life with new numbers, if it does not know that they arrived.
    """

    def __init__(self, world: World, customers: Customers, name: str, ages: Ages) -> None:
        self._world = world
        self._customers = customers
        self._name = name
        self._ages = ages
        self._lives = 0
        self._spool: list[tuple[PartitionBatch, list[Emitted]]] = []
        self._with_ids: list[Emitted] = []
        self._begin()

    def _begin(self) -> None:
        self._lives += 1
        self._batcher = Batcher(f"{self._name}.{self._lives}", events_max=self._world.rng.between(2, 12))
        self._open: dict[int, list[Emitted]] = {}
        self._emitted = 0
        self._clock = SendersClock(self._world)

    def emit(self, count: int) -> None:
        """Some usage happens."""
        for _ in range(count):
            self._emitted += 1
            has_id = self._world.chance(0.25)
            identity = f"{self._batcher.emitter}/{self._emitted}"
            event = self._customers.event(identity, has_id=has_id, age_ms=self._ages.draw(has_id=has_id))
            self._clock.stamp(event)
            event.mystery = _mystery(self._world)
            if has_id:
                self._with_ids.append(event)
            self._take(event)

    def _take(self, event: Emitted) -> None:
        number = fingerprint(self._name, event.identity) if event.has_id else NO_ID
        batch = self._batcher.add(
            event.home,
            customer=event.customer,
            dimensions=MODEL,
            time_ms=event.time_ms,
            usage=usage_of(event),
            fingerprint=number,
            stamped=event.stamped,
        )
        self._open.setdefault(id(batch), []).append(event)
        self._spool += [(full, self._open.pop(id(full))) for full in self._batcher.take_full()]

    def close_batches(self) -> None:
        """The linger time is over."""
        self._spool += [(batch, self._open.pop(id(batch))) for batch in self._batcher.take_all()]

    def send(self) -> None:
        """Send one batch of the spool, not always the oldest; repeat one that was sent already now and then."""
        if not self._spool:
            if self._world.chance(0.3):
                partition = self._world.rng.below(self._world.partitions)
                self._world.produce(EVENTS, partition, self._batcher.heartbeat(partition, dropped=self._world.rng.below(3)))
            return
        at = 0 if self._world.chance(0.8) else self._world.rng.below(len(self._spool))
        batch, events = self._spool[at]
        if self._world.produce(EVENTS, batch.partition, _written(batch)) is None:
            return
        for event in events:
            event.acknowledged = True
        if not self._world.chance(0.15):  # otherwise the spool forgets that it was acknowledged
            del self._spool[at]

    def crash(self) -> None:
        """The process dies; its spool may survive, and be sent by the next life under the old numbers."""
        if self._world.chance(0.3):
            self._spool.clear()
        self._begin()
        for event in self._with_ids:
            if not event.acknowledged or self._world.chance(0.3):
                self._take(event)
        del self._with_ids[:-4]  # of these the host still has notes

    def restart(self) -> None:
        """An orderly end: the process says how many events it has numbered, sends what it can, and another one begins. It may have had none.

        What it says may overtake what it sends, which may come from its spool days later.
        """
        self.close_batches()
        for partition in range(self._world.partitions):
            if self._world.chance(0.7):
                self._world.produce(EVENTS, partition, self._batcher.heartbeat(partition, final=True))
        if self._world.chance(0.7):
            self.send()
        self._begin()

    def finish(self) -> bool:
        """Send what is left; True when there is nothing."""
        self.close_batches()
        self.send()
        return not self._spool


class Gateway:
    """A gateway: gathers what clients send into its own numbered batches, and answers 202 when one is acknowledged."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._batcher = Batcher(name, events_max=world.rng.between(2, 10))
        self._waiting: dict[int, list[Emitted]] = {}

    def take(self, event: Emitted) -> None:
        """A client's request comes in."""
        batch = self._batcher.add(
            event.home,
            customer=event.customer,
            dimensions=MODEL,
            time_ms=event.time_ms,
            usage=usage_of(event),
            fingerprint=fingerprint("client", event.identity),
            stamped=event.stamped,
        )
        self._waiting.setdefault(id(batch), []).append(event)

    def flush(self) -> list[Emitted]:
        """Send every batch; the events whose clients have to try again."""
        refused: list[Emitted] = []
        for batch in self._batcher.take_all():
            events = self._waiting.pop(id(batch))
            if self._world.produce(EVENTS, batch.partition, _written(batch)) is not None:
                for event in events:
                    event.acknowledged = True
            else:
                refused += events
                numbers = (batch.first_seq, batch.first_seq + batch.count - 1)
                self._world.produce(EVENTS, batch.partition, self._batcher.heartbeat(batch.partition, abandoned=(numbers,)))
        return refused

    def lost(self) -> list[Emitted]:
        """The process died: the events whose clients got no answer."""
        return [event for events in self._waiting.values() for event in events]


class GatewayClients:
    """Clients that send each event until it is acknowledged, or give up; some send it again although it was."""

    def __init__(self, world: World, customers: Customers, ages: Ages) -> None:
        self._world = world
        self._customers = customers
        self._ages = ages
        self._lives = 0
        self._made = 0
        self._retries: list[tuple[int, Emitted]] = []
        self._sent: list[Emitted] = []
        self._clock = SendersClock(world)
        self._gateway = self._start()

    def _start(self) -> Gateway:
        self._lives += 1
        return Gateway(self._world, f"gateway.{self._lives}")

    def emit(self, count: int) -> None:
        """Some clients send events."""
        for _ in range(count):
            self._made += 1
            identity = str(self._made)
            event = self._customers.event(identity, has_id=True, age_ms=self._ages.draw(has_id=True))
            self._clock.stamp(event)
            event.mystery = _mystery(self._world)
            self._gateway.take(event)
            self._sent.append(event)
            if self._world.chance(0.15):
                self._again(event)
            if self._world.chance(0.03):
                self._gateway.take(self._customers.event(identity, has_id=True, age_ms=0, like=event))  # an id used twice
            if self._world.chance(0.03):
                other = self._customers.next_to(event)
                self._gateway.take(self._customers.event(identity, has_id=True, age_ms=0, like=event, customer=other))
            if self._world.chance(0.05):
                self._gateway.take(event)

    def retry(self) -> None:
        """Send again what is due."""
        due = [event for at_ms, event in self._retries if at_ms <= self._world.now_ms]
        self._retries = [entry for entry in self._retries if entry[0] > self._world.now_ms]
        for event in due:
            self._gateway.take(event)

    def repeat(self) -> None:
        """A client that has lost its notes sends some of its events again, with their ids."""
        for _ in range(3 if self._sent else 0):
            self._gateway.take(self._world.rng.pick(self._sent))

    def send(self) -> None:
        """The gateway's linger time is over."""
        for event in self._gateway.flush():
            if not self._world.chance(0.05):  # otherwise the client gives up
                self._again(event)

    def crash(self) -> None:
        """The gateway dies; another one takes its place."""
        for event in self._gateway.lost():
            self._again(event)
        self._gateway = self._start()

    def finish(self) -> bool:
        """Send what is left; True when there is nothing."""
        self._retries = [(self._world.now_ms, event) for _, event in self._retries]
        self.retry()
        self.send()
        return not self._retries

    def _again(self, event: Emitted) -> None:
        longest = HOUR if self._world.chance(0.8) else 3 * DAY
        self._retries.append((self._world.now_ms + self._world.rng.spread(SECOND, longest), event))


class RawProducer:
    """A foreign Kafka producer: single events as JSON, in any form, some damaged, some in the wrong partition, repeated without care."""

    def __init__(self, world: World, customers: Customers, journal: Journal, ages: Ages) -> None:
        self._world = world
        self._customers = customers
        self._journal = journal
        self._ages = ages
        self._made = 0

    def emit(self) -> None:
        """Send one record, good or bad."""
        dice = self._world.rng.random()
        if dice < 0.1:
            self._send_garbage()
        elif dice < 0.12:
            for _ in range(self._world.rng.between(5, 15)):
                self._send_garbage()
        elif dice < 0.2:
            self._send_and_correct()
        else:
            event = self._event()
            event.mystery = _mystery(self._world)
            usage = dict(usage_of(event))
            self._send(event, usage)
            if self._world.chance(0.1):
                self._send(event, usage)

    def _event(self, like: Emitted | None = None) -> Emitted:
        if like is not None:
            return self._customers.event(like.identity, has_id=True, age_ms=0, like=like)
        self._made += 1
        return self._customers.event(f"raw-{self._made}", has_id=True, age_ms=self._ages.draw(has_id=True))

    def _send_garbage(self) -> None:
        value = self._world.rng.pick(GARBAGE)
        if self._world.produce(EVENTS, self._world.rng.below(self._world.partitions), value, b"k") is not None:
            self._journal.garbage.append(value)

    def _send_and_correct(self) -> None:
        """An event with nothing but a field that no meter knows, then, later, the same id with others."""
        wrong = self._event()
        wrong.billable = False
        self._send(wrong, {MYSTERY: wrong.quantity})

        def correct() -> None:
            right = self._event(like=wrong)
            self._send(right, dict(usage_of(right)))

        self._world.at(self._world.now_ms + self._world.rng.spread(SECOND, 2 * HOUR), correct)

    def emit_in_transaction(self) -> None:
        """Some events in one transaction, and again in others if it is aborted, until one is committed or the producer gives up.

        Nobody sees anything of its partition meanwhile; if the producer dies, the broker aborts in the end.
        """
        first = self._event()
        if first.home not in self._world.stable:
            events = [first, *(self._event(like=first) for _ in range(self._world.rng.below(3)))]
            self._transact(events)

    def _transact(self, events: Sequence[Emitted]) -> None:
        world, partition = self._world, events[0].home
        world.begin(partition)
        for event in events:
            value, headers = self._encode(event, dict(usage_of(event)))
            record = world.land(EVENTS, partition, value, event.customer.encode(), headers)
            world.transacted.setdefault(partition, []).append(record.offset)
        lives = world.chance(0.8)

        def end() -> None:
            committed = lives and world.chance(0.6)
            world.end(partition, committed=committed)
            if committed:
                for event in events:
                    event.acknowledged = True
            elif world.chance(0.7) and world.weather.chaos:
                world.at(world.now_ms + world.rng.spread(SECOND, MINUTE), again)

        def again() -> None:
            if partition not in world.stable:
                self._transact(events)

        world.at(world.now_ms + (world.rng.spread(10, MINUTE) if lives else world.rng.spread(MINUTE, HOUR)), end)

    def _send(self, event: Emitted, usage: dict[str, int]) -> None:
        partition = event.home if self._world.chance(0.8) else self._world.rng.below(self._world.partitions)
        value, headers = self._encode(event, usage)
        if self._world.produce(EVENTS, partition, value, event.customer.encode(), headers) is not None:
            event.acknowledged = True

    def _encode(self, event: Emitted, usage: dict[str, int]) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
        time = datetime.fromtimestamp(event.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        event_id = event.identity.removeprefix("raw-")  # as the clients of a gateway number theirs, from another source
        data = {"customer": event.customer, "usage": usage, "dimensions": {"model": "alpaca-7b", "region": "eu"}}
        attributes = {"specversion": "1.0", "type": "usage", "source": "raw", "id": event_id, "time": time}
        match self._world.rng.below(3):
            case 0:
                return orjson.dumps({"id": event_id, "source": "raw", "time": time} | data), ()
            case 1:
                return orjson.dumps(attributes | {"data": data}), ()
            case _:
                headers = tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())
                return orjson.dumps(data), (*headers, ("content-type", b"application/json; charset=utf-8"))
