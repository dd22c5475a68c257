"""Decisions are noted once and carried out once, whoever else writes and whatever is not acknowledged."""

from dataclasses import replace
from typing import Any

import pytest

from metering.folds.corrections import CorrectionPlace, Target
from metering.kafka.topics import topics_named
from metering.records.ledger_records import CorrectionKind, Entry, Outcome, Receipt, Settlement, decode_entry, encode_entry
from metering.records.notes.resolution import Resolution, Resolved
from reporter.correcting import NotCorrectable, meter_event_place
from reporter.resolving import Decision, Resolving
from tests.support.manual_clock import ManualClock
from tests.support.metering_corrections import EVENT, correction, receipt, settled
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


def with_correction(outcome: Outcome, kind: CorrectionKind, settle: Outcome, **changes: Any) -> MemoryLog:
    """A ledger of a meter event, and of a correction at offset 2, each with its outcome."""
    ledger, first = settled(outcome)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, outcome)), correction(ledger, kind, place=first, at=0, **changes)]
    ledger.fold(2, 3, entries[2])
    entries += [receipt(ledger), receipt(ledger, (2, 0, settle))]
    log = MemoryLog()
    for at_ms, entry in enumerate(entries):
        log.append(LEDGER, encode_entry(entry), at_ms=at_ms)
    return log


PARKED_PLACE = CorrectionPlace("c", 0, 2)


@pytest.mark.parametrize(
    ("outcome", "kind", "again", "value"),
    [
        (Outcome.REJECTED, CorrectionKind.RESEND, CorrectionKind.RESEND, EVENT.value),
        (Outcome.ACCEPTED, CorrectionKind.NEGATE, CorrectionKind.CANCEL, -EVENT.value),
        (Outcome.ACCEPTED, CorrectionKind.CANCEL, CorrectionKind.NEGATE, -EVENT.value),
    ],
)
def test_a_parked_correction_that_stripe_lacks_is_noted_and_done_once_more(
    outcome: Outcome, kind: CorrectionKind, again: CorrectionKind, value: int
) -> None:
    log = with_correction(outcome, kind, Outcome.PARKED)
    mine = Resolving(log, MemoryAppender(log), TOPICS, FixedClock(200_000))
    target = finished(mine.find([PARKED_PLACE]))[PARKED_PLACE]
    assert (target.identifier, target.event.value) == ("tm-c-0-c2", value)
    finished(mine.resolve(target, LOST))
    done = finished(mine.repeat(target, LOST))
    assert (done.correction.kind, done.correction.target_identifier, done.correction.event) == (again, "tm-c-0-0-2-0", EVENT)
    assert finished(mine.repeat(target, LOST)).offset == done.offset
    other = Resolving(log, MemoryAppender(log), TOPICS, FixedClock(200_000))
    with pytest.raises(NotCorrectable, match="corrected already"):
        finished(other.repeat(finished(other.find([PARKED_PLACE]))[PARKED_PLACE], LOST))


def test_a_parked_correction_that_stripe_has_stands() -> None:
    log = with_correction(Outcome.REJECTED, CorrectionKind.RESEND, Outcome.PARKED)
    mine = Resolving(log, MemoryAppender(log), TOPICS, FixedClock(200_000))
    target = finished(mine.find([PARKED_PLACE]))[PARKED_PLACE]
    finished(mine.resolve(target, replace(LOST, resolved=Resolved.AT_STRIPE)))
    with pytest.raises(NotCorrectable, match="corrected already"):
        finished(mine.repeat(target, LOST))


def test_a_parked_move_bills_the_same_customer_once_more() -> None:
    log = log_of(Outcome.REJECTED)
    mine, target = resolving(log)
    finished(mine.resolve(target, MOVED))
    billed = finished(mine.bill(target, 0, MOVED))
    for told in ((), (Settlement(billed.offset, 0, Outcome.PARKED, 9),)):
        log.append(LEDGER, encode_entry(Receipt("c", 0, 0, 0, "owner", told)), at_ms=9)
    place = CorrectionPlace("c", 0, billed.offset)
    other = Resolving(log, MemoryAppender(log), TOPICS, FixedClock(200_000))
    parked = finished(other.find([place]))[place]
    assert parked.fate.outcome is Outcome.PARKED
    finished(other.resolve(parked, LOST))
    again = finished(other.repeat(parked, LOST))
    assert (again.correction.event.customer, again.offset > billed.offset) == ("cus_heir", True)


def test_what_is_no_accepted_correction_is_not_found() -> None:
    log = with_correction(Outcome.REJECTED, CorrectionKind.RESEND, Outcome.PARKED)
    mine = Resolving(log, MemoryAppender(log), TOPICS, FixedClock(200_000))
    assert finished(mine.find([CorrectionPlace("c", 0, 3), CorrectionPlace("other", 0, 2)])) == {}


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
