"""The lanes: in what order, and when, meter events are attempted, and what each attempt's verdict makes of them. Pure: no I/O, no clock.

Stripe takes one meter event at a time for each customer and meter, so these have a lane of their own: one attempt in flight, in order, and
nothing overtakes an event that waits for its next attempt. Lanes never wait for each other, except when the world is stopped, or when Stripe
refuses their meter: then its lanes stand still (reporter.sending.held_meters), and what Stripe certainly does not have of them is POSTPONED.

Two times are passed in: `now_ms`, wall time in milliseconds, decides what is too old; `monotonic`, in seconds, decides when to retry, so
that a clock set back holds nothing up.

A send is *doubtful* once Stripe may have taken it without our knowing. From then on only Stripe's word that it has the event makes it
ACCEPTED; any other end is PARKED, because a refusal of the second attempt says nothing about the first. So it waits in its lane for a held meter.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.limits import MINUTE_MS

from metering.records.ledger_records import MeterEvent, Outcome, Settlement
from metering.records.service_limits import EVENT_AGE_MAX_MS, RETRY_SAME_IDENTIFIER_MS
from reporter.sending.held_meters import HeldMeters
from reporter.sending.verdicts import Delivered, MeterRefused, Refused, StopTheWorld, TooOld, TryAgain, Verdict

ATTEMPT_MARGIN_MS: Final = 5 * MINUTE_MS  # an attempt takes a while, and Stripe's clock is not ours
# A reply kept under an idempotency key comes back for as long as the key is used. Where no reply betrays that, this many attempts do.
_ATTEMPTS_PER_KEY: Final = 8
# This many failures without a success in between are the fault of Stripe or the network, not of single events.
_OUTAGE_FAILURES: Final = 10
HELD_LOOK_S: Final = 5.0  # how often what waits for a held meter is looked at: it may have become too old

LaneKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MeterSend:
    """A meter event to be sent: number `index` of the intent, or the correction, at offset `intent` of the ledger's `partition`.

    `log_time_ms` is when that was accepted. `cancels`: not a meter event is sent, but the adjustment that cancels the one with this identifier;
    `event` is then that one's content, and `identifier` is only the idempotency key.

    `doubtful`: an earlier owner of the partition, or an earlier life of this process, may have attempted it.
    """

    partition: int
    intent: int
    index: int
    identifier: str
    event: MeterEvent
    log_time_ms: int
    doubtful: bool
    cancels: str | None = None
    is_correction: bool = False

    @property
    def lane(self) -> LaneKey:
        """(Stripe customer, meter)."""
        return self.event.billed, self.event.meter


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to be made now. `number` counts from 1; the identifier is the send's, regardless of the idempotency key."""

    send: MeterSend
    number: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class PartitionSettlement:
    """A settlement to be written to this partition of the ledger."""

    partition: int
    settlement: Settlement


class _Lane:
    """A queue of sends and the state of its head. It is in exactly one place: ready, waiting, or in flight."""

    __slots__ = ("attempts", "doubtful", "flying", "forgotten", "key", "last", "queue", "rotations")

    def __init__(self, key: LaneKey) -> None:
        self.key = key
        self.queue: deque[MeterSend] = deque()
        self.flying: Attempt | None = None
        self.forgotten = False  # the attempt in flight belongs to a partition that was given up
        self.reset(None)

    @property
    def meter(self) -> str:
        return self.key[1]

    def reset(self, head: MeterSend | None) -> None:
        self.attempts = 0
        self.rotations = 0
        self.doubtful = head is not None and head.doubtful
        self.last = ""


class Lanes:
    """Every send of the partitions owned, at most `in_flight_max` of them in flight.

    `capacity` bounds the sends and the settlements not yet taken, together; a doubtful send may add one UNKNOWN to that.

    `retry_delay_s` gives the wait after a number of failed attempts; the first success after an outage ends all long waits. While the world is
    stopped, one attempt each `probe_every_s` seconds finds out whether it may go on. `held`: the meters that Stripe refuses.
    """

    def __init__(
        self, *, capacity: int, in_flight_max: int, retry_delay_s: Callable[[int], float], probe_every_s: float, held: HeldMeters | None = None
    ) -> None:
        if capacity < 1 or in_flight_max < 1 or probe_every_s <= 0:
            raise ValueError("capacity, in_flight_max and probe_every_s must be above zero")
        self._capacity = capacity
        self._in_flight_max = in_flight_max
        self._retry_delay_s = retry_delay_s
        self._probe_every_s = probe_every_s
        self.held = held or HeldMeters(probe_every_s)
        self._trials: dict[str, Attempt] = {}  # by meter
        self._lanes: dict[LaneKey, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._waiting: list[tuple[float, int, _Lane]] = []
        self._waits = 0  # breaks ties in the heap
        self._settled: list[PartitionSettlement] = []
        self._sends = 0
        self._in_flight = 0
        self._failures = 0  # one after the other, not counting those that only ask for a slower pace
        self._stopped: str | None = None
        self._probe: Attempt | None = None
        self._probe_at = 0.0

    @property
    def room(self) -> int:
        """How many more sends `add` takes now."""
        return max(0, self._capacity - self._sends - len(self._settled))

    def has_room_for(self, sends: int) -> bool:
        """Whether there is room for this many. While nothing waits there is room for any number: the rest comes later."""
        return self.room >= min(sends, self._capacity)

    @property
    def sends(self) -> int:
        """Sends without a final settlement, those in flight included."""
        return self._sends

    @property
    def in_flight_max(self) -> int:
        """How many attempts may be in flight."""
        return self._in_flight_max

    @property
    def in_flight(self) -> int:
        """Attempts handed out and not done."""
        return self._in_flight

    @property
    def ready_lanes(self) -> int:
        """Lanes whose head could be attempted now."""
        return len(self._ready)

    @property
    def waiting_lanes(self) -> int:
        """Lanes whose head waits for its next attempt."""
        return len(self._waiting)

    @property
    def stopped(self) -> str | None:
        """Why the world is stopped; None while it goes on, and while there is no send that could find out whether it may."""
        return self._stopped if self._sends else None

    def add(self, send: MeterSend) -> None:
        """Queue a send at the end of its lane. There must be `room`."""
        assert self._sends + len(self._settled) < self._capacity, "the lanes are full"
        key = send.lane
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        if not lane.queue and lane.flying is None:
            self._ready.append(lane)
        if not lane.queue:
            lane.reset(send)
        lane.queue.append(send)
        self._sends += 1

    def next_ready(self, now_ms: int, monotonic: float) -> Attempt | None:
        """The next attempt to make, or None: nothing may be attempted now. Its lane is busy until `done` is called, even if it was cancelled.

        Sends that have become too old on the way are settled without an attempt.
        """
        while self._waiting and self._waiting[0][0] <= monotonic:
            self._ready.append(heapq.heappop(self._waiting)[2])
        if self._in_flight >= self._in_flight_max:
            return None
        if self._stopped is not None and (self._probe is not None or monotonic < self._probe_at):
            return None
        while self._ready:
            lane = self._ready.popleft()
            while lane.queue and self._gave_up(lane, now_ms):
                pass
            if lane.queue and self.held.is_held(lane.meter):
                self._postpone(lane, now_ms)
            if not lane.queue:
                del self._lanes[lane.key]
            elif self.held.is_held(lane.meter) or lane.meter in self._trials:
                self._wait(lane, monotonic + HELD_LOOK_S)
            else:
                return self._launch(lane)
        return None

    def done(self, attempt: Attempt, verdict: Verdict, now_ms: int, monotonic: float) -> None:
        """Take in the verdict on an attempt that `next_ready` gave out: settle its send, or set the time of its next attempt."""
        lane = self._lanes[attempt.send.lane]
        assert lane.flying is attempt, "this attempt is not in flight"
        lane.flying = None
        self._in_flight -= 1
        self._heed(attempt, verdict, monotonic)
        self._heed_meter(attempt, verdict, now_ms, monotonic)
        if lane.forgotten:
            lane.forgotten = False
            self._free(lane)
            return
        match verdict:
            case Delivered(duplicate):
                if attempt.send.doubtful and not duplicate:
                    # An earlier attempt may still be on its way. The ledger must show that to anyone who corrects this event.
                    self._record(attempt.send, Outcome.UNKNOWN, now_ms, "an earlier attempt may arrive yet")
                self._settle(lane, Outcome.DUPLICATE if duplicate else Outcome.ACCEPTED, now_ms, "")
            case Refused(code, message):
                self._settle_refused(lane, Outcome.REJECTED, now_ms, f"{code}: {message}")
            case TooOld(message):
                self._settle_refused(lane, Outcome.UNBILLABLE, now_ms, message)
            case MeterRefused(maybe_arrived=maybe_arrived):
                # Kept under this key, so that it would be the answer again when the meter is back.
                lane.rotations += 1
                self._doubt(lane, maybe_arrived, verdict.reason, now_ms)
            case TryAgain():
                self._repeat(lane, verdict, now_ms, monotonic)
                return
            case StopTheWorld():
                # Nothing is known of this event that was not known before: it stays at the head, as if not attempted.
                lane.attempts -= 1
        self._free(lane)

    def take_settlements(self) -> list[PartitionSettlement]:
        """The settlements since the last call, in order; the caller writes them to the ledger."""
        taken, self._settled = self._settled, []
        return taken

    def wait_s(self, monotonic: float) -> float | None:
        """Seconds until `next_ready` may give something, 0.0 if it may now; None if only `add` or `done` can change what it gives."""
        if self._in_flight >= self._in_flight_max or self._probe is not None:
            return None
        if self._ready:
            earliest = monotonic
        elif self._waiting:
            earliest = self._waiting[0][0]
        else:
            return None
        if self._stopped is not None:
            earliest = max(earliest, self._probe_at)
        return max(0.0, earliest - monotonic)

    def forget(self, partition: int) -> None:
        """Drop the sends and settlements of a partition that is no longer owned: its next owner has them from the ledger.

        Attempts in flight go on, and keep their lanes busy; what becomes of them is not settled here.
        """
        for key, lane in list(self._lanes.items()):
            head = lane.queue[0] if lane.queue else None
            # Several customers, each of a partition of its own, may be billed to one Stripe customer.
            left = [send for send in lane.queue if send.partition != partition]
            if len(left) == len(lane.queue):
                continue
            self._sends -= len(lane.queue) - len(left)
            lane.queue = deque(left)
            if head is not None and head.partition == partition:
                lane.forgotten = lane.flying is not None
                lane.reset(left[0] if left else None)
            if not left and lane.flying is None:
                del self._lanes[key]
        self._ready = deque(lane for lane in self._ready if lane.queue)
        self._waiting = [entry for entry in self._waiting if entry[2].queue]
        heapq.heapify(self._waiting)
        self._settled = [entry for entry in self._settled if entry.partition != partition]

    def _launch(self, lane: _Lane) -> Attempt:
        lane.attempts += 1
        send = lane.queue[0]
        attempt = Attempt(send, lane.attempts, idempotency_key(send.identifier, lane.rotations))
        lane.flying = attempt
        self._in_flight += 1
        if self._stopped is not None:
            self._probe = attempt
        if self.held.is_on_trial(lane.meter):
            self._trials[lane.meter] = attempt
        return attempt

    def _free(self, lane: _Lane) -> None:
        if lane.queue:
            self._ready.append(lane)
        else:
            del self._lanes[lane.key]

    def _heed(self, attempt: Attempt, verdict: Verdict, monotonic: float) -> None:
        """Stop the world, or let it go on if the probe came through."""
        probed = attempt is self._probe
        if probed:
            self._probe = None
        if isinstance(verdict, StopTheWorld):
            if self._stopped is None or probed:
                self._probe_at = monotonic + self._probe_every_s
            self._stopped = verdict.reason
        elif probed and isinstance(verdict, TryAgain):
            self._probe_at = monotonic + self._probe_every_s
        elif probed:
            self._stopped = None
        if isinstance(verdict, TryAgain):
            self._failures += not verdict.rate_limited
        elif not isinstance(verdict, StopTheWorld):
            if self._failures >= _OUTAGE_FAILURES:
                self._hurry(monotonic)
            self._failures = 0

    def _heed_meter(self, attempt: Attempt, verdict: Verdict, now_ms: int, monotonic: float) -> None:
        """Hold the meter that Stripe refuses, or let all its lanes go on if the one on trial came through."""
        meter = attempt.send.event.meter
        tried = self._trials.get(meter) is attempt
        if tried:
            del self._trials[meter]
        match verdict:
            case MeterRefused():
                self.held.refused(meter, verdict.reason, now_ms, monotonic)
            case Delivered() | Refused() | TooOld() if tried:
                # Stripe looks at the meter before it looks at the rest.
                self.held.took(meter)
                self._waiting = [(min(at, monotonic) if lane.meter == meter else at, number, lane) for at, number, lane in self._waiting]
                heapq.heapify(self._waiting)
            case _:
                pass

    def _hurry(self, monotonic: float) -> None:
        """Stripe answers again: lanes that waited longer and longer need not wait to their end. The pace of calls is limited elsewhere."""
        self._waiting = [(min(at, monotonic + self._retry_delay_s(1)), number, lane) for at, number, lane in self._waiting]
        heapq.heapify(self._waiting)

    def _gave_up(self, lane: _Lane, now_ms: int) -> bool:
        """Settle the lane's head if the time for attempts is over."""
        send = lane.queue[0]
        if send.cancels is None and now_ms >= send.event.time_ms + EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS:
            self._settle_refused(lane, Outcome.UNBILLABLE, now_ms, "the usage is older than Stripe takes")
        elif now_ms >= send.log_time_ms + RETRY_SAME_IDENTIFIER_MS:
            self._settle(lane, Outcome.PARKED, now_ms, f"no answer in time; last: {lane.last or 'no attempt by this process'}")
        else:
            return False
        return True

    def _repeat(self, lane: _Lane, verdict: TryAgain, now_ms: int, monotonic: float) -> None:
        self._doubt(lane, verdict.maybe_arrived, f"{verdict.reason}: {verdict.detail}" if verdict.detail else str(verdict.reason), now_ms)
        if verdict.rotate_key or lane.attempts % _ATTEMPTS_PER_KEY == 0:
            lane.rotations += 1
        self._wait(lane, monotonic + self._retry_delay_s(lane.attempts))

    def _doubt(self, lane: _Lane, maybe_arrived: bool, said: str, now_ms: int) -> None:
        """Note what was said of the lane's head, and whether Stripe may have it."""
        lane.last = said
        if maybe_arrived and not lane.doubtful:
            lane.doubtful = True
            self._record(lane.queue[0], Outcome.UNKNOWN, now_ms, said)

    def _wait(self, lane: _Lane, until: float) -> None:
        self._waits += 1
        heapq.heappush(self._waiting, (until, self._waits, lane))

    def _postpone(self, lane: _Lane, now_ms: int) -> None:
        """Settle all that Stripe certainly does not have: the usage of a meter event goes into a later intent, a correction back to its writer."""
        head, kept = lane.queue[0], deque[MeterSend]()
        for send in lane.queue:
            if lane.doubtful if send is head else send.doubtful:
                kept.append(send)
                continue
            detail = f"Stripe refuses the meter: {self.held.reason(lane.meter)}"
            if send.is_correction:
                self._record(send, Outcome.REJECTED, now_ms, f"{detail}; write it again when Stripe takes the meter")
            else:
                self._record(send, Outcome.POSTPONED, now_ms, detail)
            self._sends -= 1
        lane.queue = kept
        if not kept or kept[0] is not head:
            lane.reset(kept[0] if kept else None)

    def _settle_refused(self, lane: _Lane, outcome: Outcome, now_ms: int, detail: str) -> None:
        if lane.doubtful:
            self._settle(lane, Outcome.PARKED, now_ms, f"an earlier attempt may have arrived; then: {detail}")
        else:
            self._settle(lane, outcome, now_ms, detail)

    def _settle(self, lane: _Lane, outcome: Outcome, now_ms: int, detail: str) -> None:
        """Settle the lane's head for good and go on to the next."""
        self._record(lane.queue.popleft(), outcome, now_ms, detail)
        self._sends -= 1
        lane.reset(lane.queue[0] if lane.queue else None)

    def _record(self, send: MeterSend, outcome: Outcome, now_ms: int, detail: str) -> None:
        self._settled.append(PartitionSettlement(send.partition, Settlement(send.intent, send.index, outcome, now_ms, detail)))


def idempotency_key(identifier: str, rotations: int) -> str:
    """The key of an attempt: the identifier itself at first, because Stripe's error reports name the key; then numbered from 2."""
    return identifier if rotations == 0 else f"{identifier}.{rotations + 1}"
