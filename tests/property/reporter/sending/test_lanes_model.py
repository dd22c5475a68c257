"""The lanes against a naive model, under any order of additions, attempts, verdicts, time and partitions given up."""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from metering.records.ledger_records import Outcome
from metering.records.service_limits import EVENT_AGE_MAX_MS, RETRY_SAME_IDENTIFIER_MS
from reporter.sending.lanes import ATTEMPT_MARGIN_MS, Attempt, Lanes, MeterSend
from reporter.sending.verdicts import Delivered, Refused, Retry, StopTheWorld, TooOld, TryAgain, Verdict
from tests.support.reporter_lanes import START_MS, lanes, send

CAPACITY, IN_FLIGHT_MAX, RETRY_S, PROBE_S = 40, 3, 10.0, 30.0

VERDICTS: list[Verdict] = [
    Delivered(),
    Delivered(duplicate=True),
    Refused("no_meter", "none"),
    TooOld("old"),
    TryAgain(Retry.UNREACHABLE),
    TryAgain(Retry.TIMEOUT, maybe_arrived=True),
    TryAgain(Retry.SERVER_ERROR, maybe_arrived=True, rotate_key=True),
    StopTheWorld("HTTP 401"),
]


@dataclass
class Told:
    """What the model knows of one send."""

    send: MeterSend
    doubtful: bool
    attempts: int = 0
    not_before: float = 0.0


class LanesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.subject: Lanes = lanes(capacity=CAPACITY, in_flight_max=IN_FLIGHT_MAX, retry_s=RETRY_S, probe_every_s=PROBE_S)
        self.now_s = 0.0
        self.added = 0
        # Each lane's sends in the order of their addition, as a plain list; customer n is of partition n % 2.
        self.model: dict[str, list[Told]] = {f"cus_{number}": [] for number in range(4)}
        self.flying: dict[str, tuple[Attempt, Told, bool]] = {}
        self.expected: list[tuple[int, Outcome]] = []
        self.settled: set[int] = set()
        self.stopped_until: float | None = None

    @property
    def now_ms(self) -> int:
        return START_MS + int(self.now_s * 1000)

    @precondition(lambda self: self.subject.room > 0)
    @rule(customer=st.integers(0, 3), doubtful=st.booleans(), old=st.booleans(), spent_h=st.integers(0, 21))
    def add(self, customer: int, doubtful: bool, old: bool, spent_h: int) -> None:
        age_ms = EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS - 60_000 - int(self.now_s * 1000) if old else 0
        item = send(
            self.added,
            customer=f"cus_{customer}",
            partition=customer % 2,
            doubtful=doubtful,
            age_ms=age_ms,
            log_time_ms=self.now_ms - spent_h * 3_600_000,
        )
        self.added += 1
        self.subject.add(item)
        self.model[f"cus_{customer}"].append(Told(item, doubtful))

    @rule(seconds=st.sampled_from([0.5, 5.0, 31.0, 31.0, 12 * 3600.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def wake_up_in_time(self) -> None:
        self.now_s += self.subject.wait_s(self.now_s) or 0.0
        self.attempt()

    @rule()
    def attempt(self) -> None:
        attempt = self.subject.next_ready(self.now_ms, self.now_s)
        self.collect()
        if attempt is None:
            assert not self.could_attempt()
            return
        customer = attempt.send.event.customer
        assert customer not in self.flying, "two in flight in one lane"
        told = self.model[customer][0]
        assert attempt.send is told.send, "out of order"
        assert self.now_s >= told.not_before, "before its time"
        assert not self.too_late(told), "sent too late"
        assert len(self.flying) < IN_FLIGHT_MAX
        if self.stopped_until is not None:
            assert self.now_s >= self.stopped_until
            assert not any(probe for _, _, probe in self.flying.values()), "two probes"
        told.attempts += 1
        assert attempt.number == told.attempts
        self.flying[customer] = (attempt, told, self.stopped_until is not None)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS))
    def answer(self, data: st.DataObject, verdict: Verdict) -> None:
        customer = data.draw(st.sampled_from(sorted(self.flying)))
        attempt, told, probe = self.flying.pop(customer)
        self.subject.done(attempt, verdict, self.now_ms, self.now_s)
        if isinstance(verdict, StopTheWorld):
            if self.stopped_until is None or probe:
                self.stopped_until = self.now_s + PROBE_S
        elif probe:
            self.stopped_until = self.now_s + PROBE_S if isinstance(verdict, TryAgain) else None
        if told in self.model[customer]:
            self.expect(customer, told, verdict)
        self.collect()

    def expect(self, customer: str, told: Told, verdict: Verdict) -> None:
        index = told.send.index
        match verdict:
            case Delivered(duplicate):
                if told.send.doubtful and not duplicate:
                    self.expected.append((index, Outcome.UNKNOWN))
                self.finish(customer, Outcome.DUPLICATE if duplicate else Outcome.ACCEPTED)
            case Refused():
                self.finish(customer, Outcome.PARKED if told.doubtful else Outcome.REJECTED)
            case TooOld():
                self.finish(customer, Outcome.PARKED if told.doubtful else Outcome.UNBILLABLE)
            case TryAgain():
                if verdict.maybe_arrived and not told.doubtful:
                    told.doubtful = True
                    self.expected.append((index, Outcome.UNKNOWN))
                told.not_before = self.now_s + told.attempts * RETRY_S
            case StopTheWorld():
                told.attempts -= 1

    def finish(self, customer: str, outcome: Outcome) -> None:
        self.expected.append((self.model[customer].pop(0).send.index, outcome))

    # Rare, or no lane would ever come to its third attempt.
    @precondition(lambda self: self.added % 7 == 6)
    @rule(partition=st.integers(0, 1))
    def give_up(self, partition: int) -> None:
        self.subject.forget(partition)
        for customer, queue in self.model.items():
            if int(customer[-1]) % 2 == partition:
                queue.clear()

    def too_late(self, told: Told) -> bool:
        old = self.now_ms >= told.send.event.time_ms + EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS
        return old or self.now_ms >= told.send.log_time_ms + RETRY_SAME_IDENTIFIER_MS

    def could_attempt(self) -> bool:
        if len(self.flying) >= IN_FLIGHT_MAX:
            return False
        if self.stopped_until is not None and (self.now_s < self.stopped_until or any(probe for _, _, probe in self.flying.values())):
            return False
        heads = [queue[0] for customer, queue in self.model.items() if queue and customer not in self.flying]
        return any(self.now_s >= head.not_before for head in heads)

    def collect(self) -> None:
        """Compare what was settled with what the verdicts and the time make of it."""
        for entry in self.subject.take_settlements():
            found = (entry.settlement.index, entry.settlement.outcome)
            if self.expected and self.expected[0] == found:
                self.expected.pop(0)
            else:
                # No verdict called for it: then the send must be the head of its lane, and its time must be over.
                (customer,) = [name for name, queue in self.model.items() if queue and queue[0].send.index == entry.settlement.index]
                told = self.model[customer].pop(0)
                old = self.now_ms >= told.send.event.time_ms + EVENT_AGE_MAX_MS - ATTEMPT_MARGIN_MS
                assert self.too_late(told)
                assert customer not in self.flying
                assert found[1] is (Outcome.UNBILLABLE if old and not told.doubtful else Outcome.PARKED)
            if found[1].is_final:
                assert found[0] not in self.settled, "settled twice"
                self.settled.add(found[0])
        assert not self.expected, "a verdict was not settled"

    @invariant()
    def counts_agree(self) -> None:
        assert self.subject.sends == sum(map(len, self.model.values()))
        assert self.subject.in_flight == len(self.flying)
        assert (self.subject.stopped is None) is (self.stopped_until is None or not self.subject.sends)

    @invariant()
    def waiting_is_long_enough_and_no_longer(self) -> None:
        wait = self.subject.wait_s(self.now_s)
        if wait is None or wait > 0:
            assert not self.could_attempt()
        if wait is not None and wait > 0:
            self.now_s += wait
            assert self.could_attempt(), "woken for nothing"
            self.now_s -= wait


LanesMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestLanes = LanesMachine.TestCase
