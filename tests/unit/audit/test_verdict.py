"""The verdict says the worst that is true, what of, and what mends it; EXACT only if there is nothing to say."""

from collections import Counter
from collections.abc import Callable

import pytest

from audit.recount.aside_book import AsideTotals
from audit.verification.report import AcceptedHandover, AcceptedLoss, AcceptedRedrive, AcceptedStep, EmitterLine, OpenTransaction, Report
from audit.verification.term import ProofWord
from audit.verification.verdict import verdict_of
from metering.records.ledger_records import Outcome
from taximeter.commands.verify import VERDICT_CODES
from taximeter.exit_codes import DISCREPANCY, INCOMPLETE, OK, PENDING
from tests.support.repository import ROOT

Change = Callable[[Report], object]


def open_event(report: Report) -> None:
    report.open_meter_events, report.meter("tokens").open = 3, 7
    report.meter("tokens").counted += 7


def uncovered(report: Report) -> None:
    report.meter("tokens").counted += 5
    report.meter("tokens").uncovered += 5


def carried(report: Report) -> None:
    report.meter("tokens").counted += 9
    report.meter("tokens").carried += 9


def told(outcome: Outcome, units: int) -> Change:
    def change(report: Report) -> None:
        report.meter("tokens").counted += units
        report.meter("tokens").outcomes[outcome] += units

    return change


def told_back(outcome: Outcome, units: int) -> Change:
    """Meter events above zero and below it are not set off against each other."""

    def change(report: Report) -> None:
        told(outcome, 100)(report)
        report.meter("tokens").adjusted -= units
        report.meter("tokens").told(-1).outcomes[outcome] += units

    return change


def carried_back(report: Report) -> None:
    report.meter("tokens").adjusted -= 9
    report.meter("tokens").told(-1).carried += 9


def set_aside(report: Report) -> None:
    report.dead_lettered.update({"past_horizon": 1_500, "conflict": 4})
    report.aside["past_horizon"] = AsideTotals(events=1_498, units=Counter(tokens=40), counted_since=2)


def set_(name: str, value: object) -> Change:
    return lambda report: setattr(report, name, value)


CASES: list[tuple[Change, str]] = [
    (set_aside, "EXACT BUT 1,502 EVENTS SET ASIDE"),
    (lambda report: report.unknown_usage.update(cached=3), "EXACT BUT 3 UNITS OF UNKNOWN FIELDS"),
    (lambda report: report.losses.append(AcceptedLoss(0, 1, 5, 7, 0, "r", "b", 0)), "EXACT BUT 2 RECORDS ACCEPTED AS LOST"),
    (lambda report: report.steps.append(AcceptedStep(0, 1, 5, 6, None, "r", "b", 0)), "EXACT BUT 1 RECORD STEPPED OVER"),
    (lambda report: report.losses.append(AcceptedLoss(0, 1, 5, 5, 9, "r", "b", 0)), "EXACT BUT IDS ACCEPTED AS NOT KNOWN"),
    (told(Outcome.UNBILLABLE, 12), "EXACT BUT 12 UNITS TOO OLD FOR STRIPE"),
    (set_("emitters", [EmitterLine("e", 5, 4, 1, 1, 2, closed=True)]), "EXACT BUT 3 EVENTS LOST BY THEIR EMITTERS"),
    (lambda report: setattr(report.underived, "tallies", 3), "EXACT BUT 3 TALLIES NOT COUNTED AGAIN"),
    (set_("uncounted_records", 1), "PENDING: 1 record to count"),
    (lambda report: report.open_transactions.append(OpenTransaction(2, 7, 160)), "PENDING: an open transaction at offset 7 of partition 2"),
    (lambda report: report.redrives.append(AcceptedRedrive(0, 3, "redrive-c-0-3", 5)), "PENDING: 5 redriven events to count"),
    (uncovered, "PENDING: 5 units of tokens to report"),
    (carried, "PENDING: 9 units of tokens held"),
    (open_event, "PENDING: 3 meter events open (7 units of tokens)"),
    (lambda report: report.problems.add("x"), "NOT EXACT: 1 problem"),
    (lambda report: setattr(report.meter("tokens"), "counted", 5), "NOT EXACT: 5 units of tokens have no outcome"),
    (told(Outcome.REJECTED, 6), "NOT EXACT: 6 units of tokens that Stripe does not have"),
    (told(Outcome.PARKED, 6), "NOT EXACT: 6 units of tokens that Stripe does not have"),
    (lambda report: report.refusals.unkept.update(no_meter=2), "NOT EXACT: 2 refusals that Stripe counted and did not name"),
    (lambda report: report.redrives.append(AcceptedRedrive(0, 3, "redrive-c-0-4", 5, ended=True)), "NOT EXACT: 5 redriven events missing"),
    (lambda report: report.unread_partitions.update({3: 100}), "NOT EXACT: 1 partition that nobody counts"),
]


@pytest.mark.parametrize(("change", "text"), CASES, ids=[text for _, text in CASES])
def test_each_thing_alone_is_said_with_what_mends_it(change: Change, text: str) -> None:
    report = Report()
    change(report)
    verdict = verdict_of(report)
    [term] = verdict.all_terms
    assert verdict.text == text
    assert term.mend.startswith("taximeter ") or (ROOT / term.mend).exists()
    assert f"`{term.name}`" in (ROOT / "docs/verdicts.md").read_text()


@pytest.mark.parametrize("place", range(1, len(CASES)))
def test_the_worst_decides_and_nothing_is_left_out(place: int) -> None:
    report = Report()
    for change, _ in CASES[: place + 1]:
        change(report)
    verdict = verdict_of(report)
    assert CASES[place][1].startswith(verdict.word.value)
    assert len(list(verdict.all_terms)) >= place - 2


def test_nothing_at_all_is_exact() -> None:
    assert verdict_of(Report()).text == "EXACT"
    delivered = Report()
    told(Outcome.ACCEPTED, 9)(delivered)
    assert verdict_of(delivered).text == "EXACT"


def test_what_was_counted_since_is_not_set_aside() -> None:
    report = Report(dead_lettered=Counter(in_future=3), aside={"in_future": AsideTotals(counted_since=2, repeated=1)})
    assert verdict_of(report).text == "EXACT"


def test_each_word_has_its_exit_code() -> None:
    assert {word: VERDICT_CODES[word] for word in ProofWord} == {
        ProofWord.EXACT: OK,
        ProofWord.EXACT_BUT: INCOMPLETE,
        ProofWord.PENDING: PENDING,
        ProofWord.NOT_EXACT: DISCREPANCY,
    }


def test_parts_are_added_up() -> None:
    """As they are when processes share the partitions."""
    whole, one, other = Report(), Report(), Report()
    for change, _ in CASES:
        change(whole)
        change(one)
        change(other)
    one.add(other)
    for name, term in {term.name: term for term in verdict_of(whole).all_terms}.items():
        if name not in {"lost_by_emitters", "open_transaction", "unequal", "underived"}:
            assert next(each for each in verdict_of(one).all_terms if each.name == name).count == 2 * term.count, name
    assert one.underived.tallies == 6
    assert len(one.open_transactions) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (told_back(Outcome.UNBILLABLE, 100), "EXACT BUT 100 UNITS TOO OLD FOR STRIPE, 100 UNITS TOO OLD TO TAKE BACK"),
        (
            told_back(Outcome.PARKED, 100),
            "NOT EXACT: 100 units of tokens that Stripe does not have, 100 units of tokens that Stripe did not take back",
        ),
        (told_back(Outcome.ACCEPTED, 40), "EXACT"),
        (carried_back, "PENDING: -9 units of tokens held"),
        (lambda report: setattr(report.meter("tokens"), "adjusted", -4), "NOT EXACT: 4 units of tokens were never counted"),
    ],
)
def test_what_is_told_below_zero_is_not_set_off_against_the_rest(change: Change, text: str) -> None:
    report = Report()
    change(report)
    assert verdict_of(report).text == text
    page = (ROOT / "docs/verdicts.md").read_text()
    assert all(f"`{term.name}`" in page for term in verdict_of(report).all_terms)


def test_what_waits_in_a_cluster_that_was_left_is_on_its_way_elsewhere() -> None:
    report = Report(partitions=2)
    uncovered(report)
    for partition in range(2):
        assert verdict_of(report).word is ProofWord.PENDING
        report.handovers.append(AcceptedHandover(partition, 9, "closing", "new", (), 0, "moved", "ann", 1))
    verdict = verdict_of(report)
    assert verdict.text == "EXACT BUT 2 PARTITIONS CLOSED"
    assert VERDICT_CODES[verdict.word] == INCOMPLETE
    for partition in range(2):
        report.handovers.append(AcceptedHandover(partition, 10, "adoption", "new", [("tokens", 3)], 4, "it was not", "ann", 2))
    assert verdict_of(report).word is ProofWord.PENDING
    (doubt,) = [term for term in verdict_of(report).all_terms if term.name == "in_doubt"]
    assert (doubt.count, dict(doubt.units)) == (6 + 8, {"tokens": 6})
