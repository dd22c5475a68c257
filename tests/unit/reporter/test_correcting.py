"""What a correction would be, and what is refused in words; two operators at once on a log in memory."""

from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from metering.folds.corrections import Fate, Target, place_of
from metering.kafka.partition_log import Appender
from metering.kafka.topics import topics_named
from metering.records.fail_closed import HistoryLost
from metering.records.ledger_records import CorrectionKind, Outcome, Rejection, encode_correction, encode_intent, encode_receipt, encode_rejection
from reporter.correcting import CANCEL_WITHIN_MS, Correcting, NotCorrectable, Request, kind_of, meter_event_place
from tests.support.metering_corrections import EVENT, correction, receipt, settled
from tests.support.metering_memory_appender import MemoryAppender
from tests.support.metering_memory_log import MemoryLog, finished

TOPICS = topics_named("usage")
LEDGER = TOPICS.ledger.name
PLANNED_MS = 100 * DAY_MS
UNDO, RESEND = (Request(undo=undo, reason="wrong", by="ann") for undo in (True, False))


def target(outcome: Outcome | None = Outcome.ACCEPTED, *, repeated: bool = False, reported: bool = False) -> Target:
    place = meter_event_place("tm-c-0-0-2-0", 1)
    return Target(place, 0, "tm-c-0-0-2-0", PLANNED_MS, replace(EVENT, time_ms=PLANNED_MS), Fate(outcome, repeated, reported))


def test_identifiers_and_keys_made_of_them_say_where_their_meter_event_stands() -> None:
    place = meter_event_place("tm-a-b-3-10-20-7", 4)
    assert (place.chain_id, place.partition, place.start, place.end, place.index) == ("a-b", 3, 10, 20, 7)
    assert place_of("tm-a-b-3-10-20-7.2") == place
    assert place_of("tm-a-3-c10.2") == place_of("tm-a-3-c10")
    assert place_of("tm-a-3-10") is place_of("evt_1") is None


@pytest.mark.parametrize("identifier", ["", "evt_1", "tm-a-3-c10", "tm-a-4-10-20-7"])
def test_what_names_no_meter_event_of_this_installation_is_refused(identifier: str) -> None:
    with pytest.raises(NotCorrectable):
        meter_event_place(identifier, 4)


@pytest.mark.parametrize(
    ("age_ms", "repeated", "kind"),
    [
        (0, False, CorrectionKind.CANCEL),
        (CANCEL_WITHIN_MS - 1, False, CorrectionKind.CANCEL),
        (CANCEL_WITHIN_MS, False, CorrectionKind.NEGATE),
        (0, True, CorrectionKind.NEGATE),
    ],
)
def test_what_was_sent_once_and_lately_is_cancelled_and_anything_else_negated(age_ms: int, repeated: bool, kind: CorrectionKind) -> None:
    assert kind_of(target(repeated=repeated), PLANNED_MS + age_ms, undo=True) is kind


@pytest.mark.parametrize(
    ("subject", "undo", "words"),
    [
        (target(None), True, "no outcome yet"),
        (target(None), False, "no outcome yet"),
        (target(Outcome.REJECTED), True, "nothing to take back"),
        (target(Outcome.ACCEPTED), False, "billed twice"),
        (target(Outcome.PARKED), True, "nobody knows"),
        (target(Outcome.PARKED), False, "nobody knows"),
        (target(Outcome.UNBILLABLE), False, "never billed"),
        (target(Outcome.POSTPONED), False, "in a later intent"),
        (target(Outcome.POSTPONED), True, "in a later intent"),
        (target(reported=True), True, "nothing to take back"),
        (target(reported=True, repeated=True), True, "nobody knows"),
        (target(reported=True, repeated=True), False, "nobody knows"),
    ],
)
def test_a_refusal_says_why(subject: Target, undo: bool, words: str) -> None:
    with pytest.raises(NotCorrectable, match=words):
        kind_of(subject, PLANNED_MS, undo=undo)


@pytest.mark.parametrize("subject", [target(Outcome.REJECTED), target(reported=True)])
def test_what_stripe_certainly_does_not_have_may_be_sent_again(subject: Target) -> None:
    assert kind_of(subject, PLANNED_MS, undo=False) is CorrectionKind.RESEND


def test_usage_older_than_stripe_takes_is_neither_negated_nor_sent_again() -> None:
    for subject, undo in ((target(), True), (target(Outcome.REJECTED), False)):
        with pytest.raises(NotCorrectable, match="older than Stripe"):
            kind_of(subject, PLANNED_MS + 35 * DAY_MS, undo=undo)


class FixedClock:
    """Stands still, and waits for nothing."""

    def now_ms(self) -> int:
        return HOUR_MS

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, _seconds: float) -> None:
        return


def log_of(outcome: Outcome) -> tuple[MemoryLog, bytes]:
    """A ledger of one settled meter event, and another operator's correction that would come next."""
    ledger, first = settled(outcome)
    log = MemoryLog()
    log.append(LEDGER, encode_intent(first), at_ms=0)
    log.append(LEDGER, encode_receipt(receipt(ledger, (0, 0, outcome))), at_ms=1)
    return log, encode_correction(correction(ledger, CorrectionKind.NEGATE, place=first, at=0, instance="somebody else"))


def correcting(log: MemoryLog, appender: Appender) -> Correcting:
    return Correcting(log, appender, TOPICS, FixedClock(), meter_event_place("tm-c-0-0-2-0", 1))


def test_a_correction_lands_behind_what_came_between() -> None:
    log, _ = log_of(Outcome.ACCEPTED)
    report = encode_rejection(Rejection(0, "webhooks", "evt_1", "tokens", "code", "message", 1, ("tm-c-0-9-9-9",), 0, 1, 2))
    found = finished(correcting(log, MemoryAppender(log, report)).correct(UNDO))
    assert (found.offset, found.correction.kind, len(log.topics[LEDGER])) == (4, CorrectionKind.CANCEL, 5)


def test_the_second_of_two_operators_is_told_of_the_first() -> None:
    log, theirs = log_of(Outcome.ACCEPTED)
    with pytest.raises(NotCorrectable, match="corrected already: negate at offset 2, by ann"):
        finished(correcting(log, MemoryAppender(log, theirs)).correct(UNDO))


def test_an_append_that_was_not_acknowledged_is_found_in_the_log_and_not_repeated() -> None:
    log, _ = log_of(Outcome.REJECTED)
    found = finished(correcting(log, MemoryAppender(log, fails=1)).correct(RESEND))
    assert (found.offset, len(log.topics[LEDGER])) == (2, 3)


def test_a_ledger_whose_beginning_was_deleted_allows_no_correction() -> None:
    log, _ = log_of(Outcome.ACCEPTED)
    log.delete_before(LEDGER, 1)
    with pytest.raises(HistoryLost, match="kept from offset 1"):
        finished(correcting(log, MemoryAppender(log)).correct(UNDO))
