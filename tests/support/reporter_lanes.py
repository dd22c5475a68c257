"""Builders for the tests of the lanes."""

from taximeter_emitter.wire.limits import DAY_MS

from metering.records.ledger_records import MeterEvent, Outcome
from reporter.sending.lanes import Attempt, Lanes, MeterSend

START_MS = 100 * DAY_MS


def send(
    index: int = 0,
    *,
    customer: str = "cus_1",
    meter: str = "tokens",
    partition: int = 0,
    doubtful: bool = False,
    age_ms: int = 0,
    log_time_ms: int = START_MS,
) -> MeterSend:
    """A send of the intent at offset 7, for usage `age_ms` before START_MS."""
    event = MeterEvent(customer, meter, (), START_MS - age_ms, 1 + index)
    return MeterSend(partition, 7, index, f"tm-{partition}-{index}", event, log_time_ms, doubtful)


def lanes(*, capacity: int = 100, in_flight_max: int = 10, retry_s: float = 1.0, probe_every_s: float = 30.0) -> Lanes:
    """Lanes whose waits are not random: attempt n waits n times `retry_s`."""
    return Lanes(capacity=capacity, in_flight_max=in_flight_max, retry_delay_s=lambda attempts: attempts * retry_s, probe_every_s=probe_every_s)


def start(subject: Lanes, now_s: float = 0.0) -> Attempt:
    """The next attempt; there must be one. Both clocks stand at `now_s` seconds after their start."""
    attempt = subject.next_ready(START_MS + int(now_s * 1000), now_s)
    assert attempt is not None
    return attempt


def none_ready(subject: Lanes, now_s: float = 0.0) -> bool:
    """Whether nothing may be attempted at `now_s`."""
    return subject.next_ready(START_MS + int(now_s * 1000), now_s) is None


def outcomes(subject: Lanes) -> list[tuple[int, Outcome]]:
    """(index, outcome) of the settlements since the last call."""
    return [(entry.settlement.index, entry.settlement.outcome) for entry in subject.take_settlements()]
