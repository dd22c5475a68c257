"""From rejections in the ledger to customers and values, and what is said about each code."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from audit.rejections import RejectionReader, TracedRejection
from metering.folds.distinct_reports import distinct
from metering.kafka.clients import KafkaSettings
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Intent,
    MeterEvent,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
    encode_correction,
    encode_intent,
    encode_receipt,
    encode_rejection,
)
from reporter.webhooks.error_reports import CODES, UNREADABLE
from taximeter.stripe_commands.errors import UNKNOWN_ADVICE, _show, advice, as_json

HOUR_MS = 3_600_000
NOW_MS = 1_790_000_000_000
CODE = "meter_event_customer_not_found"


def a_rejection(*identifiers: str, event_id: str = "evt_1", code: str = CODE, partition: int = 1, count: int = 1, at_ms: int = NOW_MS) -> Rejection:
    return Rejection(partition, "r", event_id, "tokens", code, "not found", count, identifiers, NOW_MS - 10_000, NOW_MS, at_ms)


def an_intent(start: int, *values: int) -> Intent:
    events = [MeterEvent(f"cus_{value}", "tokens", (("identifier", '"identifier":"tm-xx-1-0-1"'),), NOW_MS, value) for value in values]
    return Intent("ab", 1, ChainLink(start, start + 5, NO_OFFSET), NO_OFFSET, "r", 0, 0, events)


def a_correction(offset: int) -> Correction:
    return Correction(
        chain_id="ab",
        partition=1,
        offset=offset,
        checkpoint=NO_OFFSET,
        instance="t",
        chain_head=0,
        chain_end=5,
        tally_head=0,
        events_end=0,
        kind=CorrectionKind.RESEND,
        intent=0,
        index=0,
        target_identifier="tm-ab-1-0-5-0",
        event=MeterEvent("cus_7", "tokens", (), NOW_MS, 7),
        reason="customer made",
        by="ada",
        at_ms=NOW_MS,
    )


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    value: bytes
    timestamp: int


class FakeReader:
    """A log in memory: for each partition, values with their log times."""

    def __init__(self, logs: dict[int, Sequence[tuple[int, bytes]]]) -> None:
        self._logs = {partition: [Record(offset, value, at_ms) for offset, (at_ms, value) in enumerate(log)] for partition, log in logs.items()}

    async def bounds(self, _topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._logs.get(partition, []))

    async def offset_for_time(self, _topic: str, partition: int, log_time_ms: int) -> int | None:
        return next((record.offset for record in self._logs.get(partition, []) if record.timestamp >= log_time_ms), None)

    async def records(self, _topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[Record]]:
        for record in self._logs.get(partition, [])[start:end]:
            yield [record]

    async def record(self, _topic: str, partition: int, offset: int) -> Record | None:
        return self._logs[partition][offset]


async def read(logs: dict[int, Sequence[tuple[int, bytes]]], since_ms: int = NOW_MS - HOUR_MS) -> list[TracedRejection]:
    subject = RejectionReader(KafkaSettings(bootstrap_servers=("127.0.0.1:9",), partitions=4))
    subject._reader = FakeReader(logs)  # type: ignore[assignment]  # the methods that are used
    return await subject.read(since_ms)


async def test_identifiers_lead_to_the_meter_events_of_intents_and_corrections() -> None:
    named = ("tm-ab-1-5-10-1", "tm-ab-1-c3", "tm-ab-1-5-10-9", "tm-cd-1-5-10-0", "taximeter-test-1")
    log = [
        (NOW_MS, encode_intent(an_intent(0, 1, 2))),
        (NOW_MS, encode_intent(an_intent(5, 3, 4))),
        (NOW_MS, encode_receipt(Receipt("ab", 1, 0, 0, "r", []))),
        (NOW_MS, encode_correction(a_correction(3))),
        (NOW_MS, encode_rejection(a_rejection(*named, count=5))),
    ]
    (refused,) = await read({1: log})
    assert {name: (event.customer, event.value) for name, event in refused.events.items()} == {named[0]: ("cus_4", 4), named[1]: ("cus_7", 7)}


def a_receipt(offset: int, outcome: Outcome) -> bytes:
    return encode_receipt(Receipt("ab", 1, 0, 0, "r", [Settlement(offset, 0, outcome, NOW_MS)]))


NAMED = "tm-ab-1-0-5-0"
RESENT = [
    (NOW_MS, encode_intent(an_intent(0, 7))),
    (NOW_MS, encode_rejection(a_rejection(NAMED))),
    (NOW_MS, encode_correction(a_correction(2))),
]


async def test_what_a_correction_sent_again_is_not_called_unbilled(capsys: pytest.CaptureFixture[str]) -> None:
    refused = await read({1: [*RESENT, (NOW_MS, a_receipt(2, Outcome.UNKNOWN)), (NOW_MS, a_receipt(2, Outcome.ACCEPTED))]})
    document = as_json(refused, 72.0)
    assert (document["errors"], document["not_billed"]) == (1, 0)
    assert document["rejections"][0]["samples"][0]["sent_again"] == {"correction": "tm-ab-1-c2", "outcome": "accepted", "refused_later": False}
    _show(refused, 72.0)
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of them was sent again by a correction that Stripe accepted" in said
    assert "They are not billed" not in said
    assert refused[0].resends[NAMED].as_text() == "sent again by correction tm-ab-1-c2 (accepted)"


@pytest.mark.parametrize(
    ("then", "text"),
    [
        ([], "sent again by correction tm-ab-1-c2 (open)"),
        ([a_receipt(2, Outcome.REJECTED)], "sent again by correction tm-ab-1-c2 (rejected)"),
        ([a_receipt(2, Outcome.PARKED)], "sent again by correction tm-ab-1-c2 (parked)"),
        (
            [a_receipt(2, Outcome.ACCEPTED), encode_rejection(a_rejection("tm-ab-1-c2", event_id="evt_2"))],
            "sent again by correction tm-ab-1-c2 (accepted, refused later)",
        ),
    ],
)
async def test_a_resend_that_stripe_has_not_taken_leaves_it_unbilled(then: list[bytes], text: str) -> None:
    refused = await read({1: [*RESENT, *((NOW_MS, value) for value in then)]})
    assert refused[0].resends[NAMED].as_text() == text
    assert as_json(refused, 72.0)["not_billed"] == len(refused)


async def test_a_refused_resend_is_made_good_by_the_next_one() -> None:
    later = [
        a_receipt(2, Outcome.ACCEPTED),
        encode_rejection(a_rejection("tm-ab-1-c2", event_id="evt_2")),
        encode_correction(a_correction(5)),
        a_receipt(5, Outcome.DUPLICATE),
    ]
    refused = await read({1: [*RESENT, *((NOW_MS, value) for value in later)]})
    assert [{name: resend.identifier for name, resend in each.resends.items()} for each in refused] == [
        {NAMED: "tm-ab-1-c5"},
        {"tm-ab-1-c2": "tm-ab-1-c5"},
    ]
    assert as_json(refused, 72.0)["not_billed"] == 0


async def test_a_correction_that_did_not_land_where_its_writer_wanted_and_one_that_takes_back_are_no_resends() -> None:
    taken_back = replace(a_correction(3), kind=CorrectionKind.CANCEL)
    log = [
        *RESENT[:2],
        (NOW_MS, encode_correction(a_correction(9))),
        (NOW_MS, encode_correction(taken_back)),
        (NOW_MS, a_receipt(3, Outcome.ACCEPTED)),
    ]
    (refused,) = await read({1: log})
    assert refused.resends == {}


async def test_intents_are_looked_for_a_day_before_the_report_and_rejections_only_as_far_back_as_asked() -> None:
    log = [
        (NOW_MS - 100 * HOUR_MS, encode_rejection(a_rejection(event_id="evt_old", at_ms=NOW_MS - 100 * HOUR_MS))),
        (NOW_MS - 23 * HOUR_MS, encode_intent(an_intent(0, 1))),
        (NOW_MS, encode_rejection(a_rejection("tm-ab-1-0-5-0"))),
    ]
    (refused,) = await read({1: log})
    assert refused.rejection.event_id == "evt_1"
    assert refused.events["tm-ab-1-0-5-0"].customer == "cus_1"


async def test_a_report_that_was_written_twice_counts_once() -> None:
    twice = [(NOW_MS, encode_rejection(a_rejection(at_ms=NOW_MS + number))) for number in range(2)]
    other = [(NOW_MS, encode_rejection(a_rejection(partition=0, count=9)))]
    found = await read({1: twice, 0: other})
    assert [each.rejection.error_count for each in found] == [9, 1]
    assert as_json(found, 1.0)["errors"] == 10


def test_of_the_same_the_first_is_kept_and_codes_events_and_partitions_differ() -> None:
    same = [a_rejection(at_ms=5), a_rejection(at_ms=3)]
    others = [a_rejection(event_id="evt_2"), a_rejection(code="no_meter"), a_rejection(partition=2)]
    assert distinct([*same, *others]) == [same[1], *others]


@pytest.mark.parametrize("code", [*CODES, UNREADABLE])
def test_every_code_has_a_way_out_and_an_unknown_one_says_to_look_first(code: str) -> None:
    assert advice(code) != UNKNOWN_ADVICE
    assert advice("brand_new_code") == UNKNOWN_ADVICE


def test_json_has_sums_by_code_and_every_sample() -> None:
    event = MeterEvent("cus_1", "tokens", (), NOW_MS, 812)
    refused = [
        TracedRejection(a_rejection("tm-ab-1-0-5-0", "tm-ab-1-0-5-1", count=40), {"tm-ab-1-0-5-0": event}),
        TracedRejection(a_rejection(code="no_meter"), {}),
    ]
    document: dict[str, Any] = as_json(refused, 72.0)
    assert [(each["code"], each["errors"]) for each in document["codes"]] == [(CODE, 40), ("no_meter", 1)]
    assert document["rejections"][0]["samples"] == [
        {"identifier": "tm-ab-1-0-5-0", "customer": "cus_1", "meter": "tokens", "value": 812, "time_ms": NOW_MS},
        {"identifier": "tm-ab-1-0-5-1"},
    ]


def test_the_table_says_how_many_are_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    event = MeterEvent("cus_1", "tokens", (), NOW_MS, 81200)
    _show([TracedRejection(a_rejection("tm-ab-1-0-5-0", count=40), {"tm-ab-1-0-5-0": event})], 72.0)
    shown = capsys.readouterr().out
    for words in (
        "40 meter events in 72 hours",
        CODE,
        "taximeter correct IDENTIFIER --resend",
        "cus_1",
        "81,200",
        "39",
        "taximeter reconcile --all --from",
    ):
        assert words in " ".join(shown.split())
    _show([], 72.0)
    assert "refused nothing in 72 hours" in capsys.readouterr().out
