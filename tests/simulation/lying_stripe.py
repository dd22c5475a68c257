"""A Stripe that keeps the letter of its promises and no more, and books that say what it really took.

It refuses an identifier for exactly 24 hours and then forgets it. A reply may be lost before or after the event was taken, arrive after the
caller gave up, be an error although the event was taken, or be an old reply kept under an idempotency key. Now and then an event is accepted
and not recorded; an error report says so later, which webhooks write to the ledger. In half of the worlds an identifier is free again when its
event was cancelled or not recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass

from metering.records.ledger_records import Rejection, encode_rejection
from reporter.sending.verdicts import Reply, Retry, Verdict, classify, interrupted, unreachable
from tests.simulation.world import HOUR, LEDGER, MINUTE, SECOND, START_MS, World

DAY = 24 * HOUR
TIMEOUT = 15 * SECOND
# A caller that is frozen between its decision to send and the first byte on the wire sends late. More than four hours (24 less 20) would
# break the promise, and no caller that looks at a clock before it writes to a socket can rule that out.
LATEST_ARRIVAL = 3 * HOUR


@dataclass(frozen=True, slots=True)
class MeterLine:
    """What a request says."""

    customer: str
    meter: str
    value: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Booked:
    """A meter event that Stripe took."""

    identifier: str
    customer: str
    meter: str
    value: int
    time_ms: int
    taken_ms: int


class LyingStripe:
    """One account."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.books: list[Booked] = []
        self.cancelled: set[str] = set()
        self.dropped: set[str] = set()
        self.refused: set[str] = set()
        self.billed: dict[str, set[str]] = {}  # whom each meter event was said to be for, by identifier
        self.calls = 0
        self._frees = world.chance(0.5)
        self._health = "up"
        self._mended_ms = 0
        self._taken: dict[str, int] = {}
        self._kept: dict[str, tuple[int, Reply]] = {}
        self._busy: dict[tuple[str, str], int] = {}
        self._in_use: dict[str, int] = {}
        self._inactive: dict[str, int] = {}

    @property
    def health(self) -> str:
        """up, down (nobody answers) or locked out (401)."""
        return self._health if self._world.now_ms < self._mended_ms else "up"

    def fall_ill(self, health: str, until_ms: int) -> None:
        """Be down or locked out for a while."""
        self._health, self._mended_ms = health, until_ms

    def deactivate(self, meter: str, until_ms: int) -> None:
        """Somebody deactivates a meter for a while; at or before now: it is active."""
        self._inactive[meter] = until_ms

    def is_active(self, meter: str) -> bool:
        """Whether it takes meter events of this meter."""
        return self._inactive.get(meter, 0) <= self._world.now_ms

    def call(self, line: MeterLine, identifier: str, idempotency_key: str, deliver: Callable[[Verdict], None]) -> None:
        """Send a meter event; `deliver` gets the verdict once, later. As the stream does, it takes no value below zero, and does not say so."""
        self._call(identifier, idempotency_key, lambda: self._take(identifier, line) if line.value > 0 else Reply(200), deliver)

    def take_back(self, line: MeterLine, identifier: str, idempotency_key: str, deliver: Callable[[Verdict], None]) -> None:
        """Send a meter event by version 1 of the API, which takes values below zero."""
        self._call(identifier, idempotency_key, lambda: self._take(identifier, line), deliver)

    def cancel(self, identifier: str, idempotency_key: str, deliver: Callable[[Verdict], None]) -> None:
        """Cancel a meter event; `deliver` gets the verdict once, later."""
        self._call(f"cancel {identifier}", idempotency_key, lambda: self._cancel(identifier), deliver)

    def _call(self, identifier: str, idempotency_key: str, work: Callable[[], Reply], deliver: Callable[[Verdict], None]) -> None:
        self.calls += 1
        world = self._world
        if self.health == "down" and world.chance(0.7):
            deliver(unreachable("connection refused"))
            return
        answered = False

        def answer(verdict: Verdict) -> None:
            nonlocal answered
            if not answered:
                answered = True
                if world.tracing:
                    world.note(f"stripe -> {identifier}: {verdict}")
                deliver(verdict)

        def arrive() -> None:
            reply = self._receive(idempotency_key, work)
            if reply is not None:
                verdict = classify(reply)
                world.at(world.now_ms + world.rng.between(20, 3 * SECOND), lambda: answer(verdict))
            elif world.chance(0.5):
                answer(interrupted(Retry.CONNECTION_LOST, "reset by peer"))

        slow = world.chance(world.weather.stripe_faults / 3)
        longest = LATEST_ARRIVAL if world.chance(0.5) else 2 * TIMEOUT
        world.at(world.now_ms + (world.rng.below(longest) if slow else world.rng.between(5, SECOND)), arrive)
        world.at(world.now_ms + TIMEOUT, lambda: answer(interrupted(Retry.TIMEOUT, "no answer in time")))

    def _receive(self, idempotency_key: str, work: Callable[[], Reply]) -> Reply | None:
        """A request arrives. None: its reply is lost."""
        world = self._world
        if self.health == "locked out":
            return Reply(401, error_type="invalid_request_error", message="Invalid API Key provided")
        if self.health == "down":
            return None
        if self._in_use.get(idempotency_key, 0) > world.now_ms:
            return Reply(409, error_type="idempotency_error", code="idempotency_key_in_use")
        kept = self._kept.get(idempotency_key)
        if kept is not None and world.now_ms - kept[0] < DAY:
            reply = kept[1]
            return Reply(reply.status, True, reply.error_type, reply.code, reply.message, {"Idempotent-Replayed": "true"})
        if world.weather.noise and world.chance(world.weather.noise):
            return _too_many()
        if not world.chance(world.weather.stripe_faults):
            reply = work()
            return self._keep(idempotency_key, reply) if reply.status == 400 and world.chance(0.5) else reply
        return self._answer_badly(idempotency_key, work)

    def _answer_badly(self, idempotency_key: str, work: Callable[[], Reply]) -> Reply | None:
        world = self._world
        match world.rng.below(9):
            case 0:
                return _too_many()
            case 1:
                return self._keep(idempotency_key, Reply(500, error_type="api_error", message="before it was taken"))
            case 2:
                self._work_and_go_away(work)
                return self._keep(idempotency_key, Reply(500, error_type="api_error", message="after it was taken"))
            case 3:
                self._work_and_go_away(work)
                return None
            case 4:
                return Reply(503, recognised=False)
            case 5:
                work()
                return Reply(200, recognised=False)  # the reply was cut off
            case 6:
                return Reply(200, recognised=False)  # somebody else answered
            case 7:
                # The reply is long in coming, and nobody knows meanwhile what it will be.
                self._keep(idempotency_key, work() if world.chance(0.5) else Reply(500, error_type="api_error", message="it took too long"))
                self._in_use[idempotency_key] = world.now_ms + world.rng.spread(SECOND, HOUR)
                return None
            case _:
                return None

    def _work_and_go_away(self, work: Callable[[], Reply]) -> None:
        """The caller will not know that it was taken, and somebody may deactivate a meter before the next attempt."""
        work()
        world = self._world
        if world.chance(0.1):
            self.deactivate(world.rng.pick(world.meters), world.now_ms + world.rng.spread(SECOND, HOUR))

    def _take(self, identifier: str, event: MeterLine) -> Reply:
        now = self._world.now_ms
        lane = (event.customer, event.meter)
        if self._busy.get(lane, 0) > now:
            code = "too_many_concurrent_requests" if now % 2 else "lock_timeout"
            return Reply(409, error_type="invalid_request_error", code=code)
        # Nobody knows whether it first looks at the meter or at the identifier.
        if not self.is_active(event.meter) and (identifier not in self._taken or self._world.chance(0.5)):
            return Reply(400, error_type="invalid_request_error", message=f'No active meter found for event name "{event.meter}"')
        faults = self._world.weather.stripe_faults
        lasting = faults and self._world.chance(faults / 8)
        self._busy[lane] = now + (self._world.rng.spread(MINUTE, 2 * HOUR) if lasting else 50)
        taken = self._taken.get(identifier)
        if taken is not None and now - taken < DAY:
            return Reply(400, error_type="invalid_request_error", message=f"An event already exists with identifier {identifier}.")
        if event.customer.startswith("cus_missing") or (event.customer.startswith("cus_later") and now < self._created_ms(event.customer)):
            self.refused.add(identifier)
            return Reply(400, error_type="invalid_request_error", code="resource_missing", message="No such customer")
        if event.time_ms < now - 35 * DAY:
            return Reply(400, error_type="invalid_request_error", code="timestamp_too_far_in_past", message="too old")
        if event.time_ms > now + 5 * MINUTE:
            return Reply(400, error_type="invalid_request_error", code="timestamp_in_future", message="in the future")
        self._taken[identifier] = now
        if self._world.chance(self._world.weather.stripe_faults / 5):
            self._drop(identifier, event)
            return Reply(200)
        self.books.append(Booked(identifier, event.customer, event.meter, event.value, event.time_ms, now))
        return Reply(200)

    def _drop(self, identifier: str, event: MeterLine) -> None:
        """Accept an event and do not record it; say so in an error report."""
        world = self._world
        self.dropped.add(identifier)
        if self._frees:
            del self._taken[identifier]
        if world.tracing:
            world.note(f"stripe drops {identifier}")
        partition = int(identifier.split("-")[2])  # tm-chain-partition-...
        report = Rejection(partition, "webhooks", "evt_1", event.meter, "meter_event_invalid_value", "lost", 1, (identifier,), 0, 0, world.now_ms)

        def land() -> None:
            world.land(LEDGER, partition, encode_rejection(report))

        world.at(world.now_ms + world.rng.spread(SECOND, HOUR), land)

    def _cancel(self, identifier: str) -> Reply:
        booked = next((line for line in self.books if line.identifier == identifier), None)
        known = identifier in self.dropped or (booked is not None and self._world.now_ms - booked.taken_ms < DAY)
        if not known or identifier in self.cancelled:
            return Reply(400, error_type="invalid_request_error", message="there is no such event, it is cancelled, or it is too old")
        if booked is not None:
            self.cancelled.add(identifier)
        if self._frees:
            self._taken.pop(identifier, None)
        return Reply(200)

    def _created_ms(self, customer: str) -> int:
        """When somebody creates the customer whose usage is reported already: until then the refusals are true."""
        return START_MS + 20 * (SECOND << int(customer.rpartition("_")[2]) * 7 % 9)  # from 20 seconds to 85 minutes after the world's begin

    def _keep(self, idempotency_key: str, reply: Reply) -> Reply:
        self._kept[idempotency_key] = (self._world.now_ms, reply)
        return reply


def _too_many() -> Reply:
    return Reply(429, error_type="invalid_request_error", code="rate_limit", headers={"Stripe-Rate-Limited-Reason": "endpoint-rate"})
