"""Decisions are noted once and carried out once, whoever else writes and whatever is not acknowledged."""

from dataclasses import replace

import pytest

from metering.folds.corrections import Target
from metering.kafka.topics import topics_named
from metering.records.ledger_records import CorrectionKind, Outcome, decode_entry, encode_entry
from metering.records.notes.resolution import Resolution, Resolved
from reporter.correcting import NotCorrectable, meter_event_place
from reporter.resolving import Decision, Resolving
from tests.support.manual_clock import ManualClock
from tests.support.metering_corrections import EVENT, receipt, settled
from tests.support.metering_memory_appender import MemoryAppender
from tests.support.metering_memory_log import MemoryLog, finished

TOPICS = topics_named("usage")
LEDGER = TOPICS.ledger.name
PLACE = meter_event_place("tm-c-0-0-2-0", 1)
LOST = Decision(Resolved.NOT_AT_STRIPE, "the sums lack it", "ann")
MOVED = Decision(Resolved.MOVED, "made anew", "ann", to_customer="cus_heir")


class FixedClock(ManualClock):
    """Sleeping takes no time."""

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def log_of(outcome: Outcome) -> MemoryLog:
    """A ledger of one settled meter event."""
    ledger, first = settled(outcome)
    log = MemoryLog()
    log.append(LEDGER, encode_entry(first), at_ms=0)
    log.append(LEDGER, encode_entry(receipt(ledger, (0, 0, outcome))), at_ms=1)
    return log


def resolving(log: MemoryLog, *between: bytes, fails: int = 0) -> tuple[Resolving, Target]:
    found = Resolving(log, MemoryAppender(log, *between, fails=fails), TOPICS, FixedClock(200_000))
    return found, finished(found.find([PLACE]))[PLACE]


def written(log: MemoryLog) -> list[str]:
    """What was written after the receipt."""
    entries = [decode_entry(record.value) for record in log.topics[LEDGER][2:] if record is not None]
    return [entry.resolved if isinstance(entry, Resolution) else type(entry).__name__ for entry in entries]


def test_what_stripe_lacks_is_noted_and_sent_again_once() -> None:
    log = log_of(Outcome.PARKED)
    mine, target = resolving(log)
    finished(mine.resolve(target, LOST))
    finished(mine.resolve(target, LOST))
    corrected = finished(mine.resend(target, LOST))
    assert (corrected.correction.kind, written(log)) == (CorrectionKind.RESEND, ["not_at_stripe", "Correction"])
    other, same = resolving(log)
    with pytest.raises(NotCorrectable, match="corrected already"):
        finished(other.resend(same, LOST))


def test_what_was_not_acknowledged_is_found_in_the_log() -> None:
    log = log_of(Outcome.PARKED)
    mine, target = resolving(log, fails=1)
    finished(mine.resolve(target, LOST))
    assert written(log) == ["not_at_stripe"]


def test_of_two_who_decide_differently_at_once_the_second_is_told() -> None:
    log = log_of(Outcome.PARKED)
    theirs = Resolution("c", 0, 2, "somebody", 0, 0, "tm-c-0-0-2-0", Resolved.AT_STRIPE, "", (), "seen there", "bob", 1)
    mine, target = resolving(log, encode_entry(theirs))
    with pytest.raises(NotCorrectable, match="resolved already: at_stripe, by bob"):
        finished(mine.resolve(target, LOST))
    assert target.fate.at_stripe


@pytest.mark.parametrize(
    ("outcome", "decision", "words"),
    [
        (Outcome.REJECTED, LOST, "refused it by name"),
        (Outcome.ACCEPTED, replace(LOST, resolved=Resolved.AT_STRIPE), "Stripe has it"),
        (Outcome.ACCEPTED, MOVED, "billed twice"),
        (Outcome.UNBILLABLE, LOST, "never sent"),
    ],
)
def test_what_must_not_be_decided_is_refused(outcome: Outcome, decision: Decision, words: str) -> None:
    log = log_of(outcome)
    mine, target = resolving(log)
    with pytest.raises(NotCorrectable, match=words):
        finished(mine.resolve(target, decision))
    assert written(log) == []


def test_what_is_moved_is_billed_to_the_other_customer_once_also_after_an_interruption() -> None:
    log = log_of(Outcome.REJECTED)
    mine, target = resolving(log)
    with pytest.raises(NotCorrectable, match="no resolution moves it"):
        finished(mine.bill(target, 0, MOVED))
    finished(mine.resolve(target, MOVED))
    # Interrupted here; another process goes on.
    other, same = resolving(log)
    finished(other.resolve(same, MOVED))
    billed = finished(other.bill(same, 0, MOVED))
    again, third = resolving(log)
    assert finished(again.bill(third, 0, MOVED)).offset == billed.offset
    assert (billed.correction.event, billed.correction.target_identifier) == (replace(EVENT, customer="cus_heir"), "tm-c-0-0-2-0")
    assert written(log) == ["moved", "Correction"]
    with pytest.raises(NotCorrectable, match="resolved already: moved"):
        finished(again.resolve(third, replace(MOVED, to_customer="cus_other")))
