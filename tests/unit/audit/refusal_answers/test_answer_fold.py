"""A refusal that Stripe did not name is answered by records of the ledger, and only by such as agree with the ledger itself."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from audit.refusal_answers.answer_fold import AnsweredReport, AnswerFold, answers_of
from audit.refusal_answers.refusal_suspects import SUSPECT_CELLS_MAX, SuspectFold, by_cell, key_of, unnamed_reports
from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CellKey
from metering.records.ledger_records import CorrectionKind, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection, Settlement
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from metering.records.notes.resolution import Resolution, Resolved, SumRead
from tests.support.metering_corrections import correction, intent

HOUR = 3_600_000
REPORT = Rejection(0, "webhooks", "evt_1", "tokens", "code", "no", 1, (), 10_000, 20_000, 30_000)
SETTLED = Finding("cus_1", "tokens", 0, HOUR, CellVerdict.SETTLED, 12, 12, 0, 50_000, 50_000)
MISSING = Finding("cus_1", "tokens", 0, HOUR, CellVerdict.MISSING, 12, 7, -5, 40_000, 35_000, 2, confirmed=True)


class Log:
    """One partition: two meter events of one hour, 5 and 7, that Stripe took at 15,000."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.entries: list[Entry] = []
        base = intent(self.ledger, events=2)
        five, seven = (MeterEvent("cus_1", "tokens", (), 60_000, value) for value in (5, 7))
        self.first = self.add(replace(base, meter_events=[five, seven]))
        self.settle((0, 0), (0, 1), at_ms=15_000)

    def add(self, entry: Entry) -> Intent:
        self.ledger.fold(len(self.entries), len(self.entries), entry)
        self.entries.append(entry)
        return entry  # type: ignore[return-value]  # only the first is asked for, which is an intent

    def settle(self, *places: tuple[int, int], at_ms: int, outcome: Outcome = Outcome.ACCEPTED) -> None:
        told = [Settlement(offset, index, outcome, at_ms) for offset, index in places]
        self.add(Receipt("c", 0, self.ledger.chain.head, self.ledger.checkpoint, "owner", told))

    def evidence(self, *findings: Finding) -> None:
        self.add(Evidence(0, "reporter", findings[0].read_at_ms, findings))

    def resolve(self, index: int = 0, read: SumRead = SumRead(40_000, 7, 12), resolved: Resolved = Resolved.NOT_AT_STRIPE, offset: int = 0) -> None:  # noqa: B008  # a constant
        at = len(self.entries) + offset
        name = self.first.identifier(index)
        self.add(Resolution("c", 0, at, "correct-1", 0, index, name, resolved, "", (read,), "Stripe lost it", "ann", 41_000))

    def send_again(self, index: int = 0) -> int:
        """A correction that Stripe took; its offset."""
        at = len(self.entries)
        self.add(correction(self.ledger, CorrectionKind.RESEND, place=self.first, at=0, index=index))
        self.settle((at, 0), at_ms=45_000)
        self.settle((at, 0), at_ms=45_000)
        return at


def answered(log: Log, *reports: Rejection) -> list[AnsweredReport]:
    wanted = list(reports) or [REPORT]
    suspects = SuspectFold(wanted, Ledger())
    for offset, entry in enumerate(log.entries):
        suspects.fold(offset, offset, entry)
    scope = suspects.scope()
    if scope is None:
        return answers_of(wanted, [])
    fold = AnswerFold(by_cell(suspects.cells), scope, Ledger())
    for entry in log.entries:
        fold.foresee(entry)
    for offset, entry in enumerate(log.entries):
        fold.fold(offset, offset, entry)
    return answers_of(wanted, [(suspects, fold)])


def left(log: Log, *reports: Rejection) -> int:
    return sum(each.left for each in answered(log, *reports))


def test_without_a_record_it_stays() -> None:
    assert left(Log()) == 1


def test_what_was_found_missing_answers_it_with_its_evidence_and_its_correction() -> None:
    log = Log()
    log.evidence(MISSING)
    log.resolve()
    (report,) = answered(log)
    assert (report.left, len(report.found)) == (0, 1)
    assert "not sent again yet" in list(report.lines())[1]
    at = log.send_again()
    (report,) = answered(log)
    told = list(report.lines())
    assert told[0] == "report evt_1 (code): 1 of 1 refusals without a name are answered"
    assert f"found by Stripe's sum 7 beside 12; sent again by correction tm-c-0-c{at} (accepted); taximeter correct by ann: Stripe lost it" in told[1]
    assert report.as_json()["found"][0]["reads"] == [[40_000, "7", "12"]]


@pytest.mark.parametrize(
    "forged",
    [
        None,
        replace(MISSING, ours=13),
        replace(MISSING, confirmed=False),
        replace(MISSING, customer="cus_2"),
        replace(MISSING, start_ms=HOUR, end_ms=2 * HOUR),
        replace(MISSING, read_at_ms=39_000),
    ],
)
def test_a_decision_without_evidence_that_agrees_with_the_ledger_answers_nothing(forged: Finding | None) -> None:
    log = Log()
    if forged is not None:
        log.evidence(forged)
    log.resolve(read=SumRead(40_000, 7, 13 if forged is not None and forged.ours == 13 else 12))
    assert left(log) == 1


def test_evidence_that_comes_after_the_decision_answers_nothing() -> None:
    log = Log()
    log.resolve()
    log.evidence(MISSING)
    assert left(log) == 1


def test_a_decision_that_landed_elsewhere_or_says_that_stripe_has_it_answers_nothing() -> None:
    for resolved, offset in ((Resolved.NOT_AT_STRIPE, 1), (Resolved.AT_STRIPE, 0)):
        log = Log()
        log.evidence(MISSING)
        log.resolve(resolved=resolved, offset=offset)
        assert left(log) == 1


def test_one_that_was_found_answers_one_refusal_and_one_that_was_moved_too() -> None:
    log = Log()
    log.evidence(MISSING)
    log.resolve()
    assert left(log, replace(REPORT, error_count=3)) == 2
    assert left(log, REPORT, replace(REPORT, event_id="evt_2")) == 1
    assert left(log, replace(REPORT, meter="other")) == 1
    found = log.entries[-1]
    assert isinstance(found, Resolution)
    moved = replace(found, offset=len(log.entries), resolved=Resolved.MOVED, to_customer="cus_9", reads=())
    log.add(moved)
    (report,) = answered(log)
    assert (report.left, report.found[0].to_customer) == (0, "cus_9")
    assert "billed to cus_9" in list(report.lines())[1]


def test_sums_that_agree_afterwards_answer_all_of_a_report() -> None:
    log = Log()
    log.evidence(SETTLED)
    (report,) = answered(log, replace(REPORT, error_count=9))
    assert (report.left, report.answered) == (0, 9)
    assert "evidence: Stripe's sums of 1 cell" in list(report.lines())[-1]


@pytest.mark.parametrize(
    "found",
    [
        replace(SETTLED, ours=11, stripe=11),  # not what this ledger says
        replace(SETTLED, stripe=7),  # it does not add up
        replace(SETTLED, stripe=None),
        replace(SETTLED, read_at_ms=19_000),  # before Stripe had validated all
        replace(SETTLED, read_at_ms=14_000),  # before it was told
        replace(SETTLED, verdict=CellVerdict.ARRIVING),
        replace(SETTLED, start_ms=HOUR, end_ms=2 * HOUR),
        replace(SETTLED, customer="cus_2"),
    ],
)
def test_evidence_that_is_forged_or_too_early_answers_nothing(found: Finding) -> None:
    log = Log()
    log.evidence(found)
    assert left(log) == 1


def test_sums_that_were_read_before_the_last_word_on_their_cell_answer_nothing() -> None:
    log = Log()
    log.add(replace(intent(log.ledger), meter_events=[MeterEvent("cus_1", "tokens", (), 60_000, 3)]))
    log.settle((2, 0), at_ms=55_000)
    log.evidence(replace(SETTLED, ours=15, stripe=15))
    assert left(log) == 1
    log.evidence(replace(SETTLED, ours=15, stripe=15, read_at_ms=56_000))
    assert left(log) == 0


def test_each_of_two_that_were_found_answers_another_report() -> None:
    log = Log()
    log.evidence(MISSING)
    log.resolve()
    log.evidence(replace(MISSING, ours=7, stripe=0, difference=-7, read_at_ms=42_000))
    log.resolve(index=1, read=SumRead(42_000, 0, 7))
    assert left(log, REPORT, replace(REPORT, event_id="evt_2")) == 0


def test_a_later_read_that_differs_takes_the_answer_back() -> None:
    log = Log()
    log.evidence(SETTLED)
    log.evidence(replace(MISSING, read_at_ms=60_000, since_ms=60_000, reads=1, confirmed=False))
    assert left(log) == 1
    log.evidence(replace(SETTLED, read_at_ms=70_000))
    assert left(log) == 0


def test_a_range_is_believed_with_the_sum_of_its_cells_but_those_that_have_findings_of_their_own() -> None:
    log = Log()
    other = MeterEvent("cus_1", "tokens", (), HOUR + 1, 3)
    log.add(replace(intent(log.ledger), meter_events=[other]))
    log.settle((2, 0), at_ms=16_000)
    range_of_both = replace(SETTLED, end_ms=2 * HOUR, ours=15, stripe=15)
    log.evidence(range_of_both)
    assert left(log) == 0
    apart = replace(MISSING, start_ms=HOUR, end_ms=2 * HOUR, ours=3, stripe=0, difference=-3, read_at_ms=50_000)
    log = Log()
    log.add(replace(intent(log.ledger), meter_events=[other]))
    log.settle((2, 0), at_ms=16_000)
    log.evidence(replace(range_of_both, ours=12, stripe=12), apart)
    assert left(log) == 1, "both hours are suspects, and one differs"
    assert left(log, replace(REPORT, window_end_ms=15_500)) == 0, "the hour that differs is none of its suspects"


def test_every_suspect_must_agree_and_too_many_are_never_answered() -> None:
    log = Log()
    log.add(replace(intent(log.ledger), meter_events=[MeterEvent("cus_2", "tokens", (), 60_000, 3)]))
    log.settle((2, 0), at_ms=16_000)
    log.evidence(SETTLED)
    assert left(log) == 1
    log.evidence(replace(SETTLED, customer="cus_2", ours=3, stripe=3))
    assert left(log) == 0
    suspects = SuspectFold([REPORT], Ledger())
    suspects.cells[key_of(REPORT)] = {CellKey("cus_1", "tokens", start) for start in range(1, SUSPECT_CELLS_MAX + 1)}
    for offset, entry in enumerate(log.entries[:2]):
        suspects.fold(offset, offset, entry)
    assert suspects.left_out == {key_of(REPORT)}


def test_nothing_of_ours_in_the_window_is_no_answer() -> None:
    log = Log()
    log.evidence(SETTLED)
    assert left(log, replace(REPORT, window_start_ms=10 * HOUR, window_end_ms=11 * HOUR)) == 1


def test_only_reports_that_count_more_than_they_name_are_asked_about_each_once() -> None:
    wanted: Sequence[Rejection] = [
        REPORT,
        replace(REPORT, at_ms=31_000),
        replace(REPORT, event_id="evt_2", identifiers=("tm-c-0-0-2-0",)),
        replace(REPORT, code="meter_event_duplicate"),
    ]
    assert unnamed_reports(wanted) == [REPORT]
