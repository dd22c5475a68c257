"""Error reports of Stripe's, well-formed and not, as rejections."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.records.ledger_records import Rejection, encode_rejection
from reporter.sending.lanes import idempotency_key
from reporter.webhooks.error_reports import CODES, UNREADABLE, label_of
from reporter.webhooks.rejection_log import Recorded
from tests.support.reporter_error_reports import BATCHES, reader


def sample(name: str, key: str = "identifier") -> dict[str, Any]:
    return {"error_message": f"customer of {name} not found", "request": {key: name}}


def report(*errors: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "type": "v1.billing.meter.error_report_triggered",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
        "data": {
            "developer_message_summary": "There are invalid events",
            "validation_start": "2026-11-22T10:00:00.000Z",
            "validation_end": "2026-11-22T10:00:10.000Z",
            "reason": {"error_count": sum(error["error_count"] for error in errors), "error_types": list(errors)},
        },
    }


def error(samples: Sequence[dict[str, Any]], count: int | None = None, code: str = "meter_event_customer_not_found") -> dict[str, Any]:
    return {"code": code, "error_count": len(samples) if count is None else count, "sample_errors": list(samples)}


def rejections(*errors: dict[str, Any]) -> dict[tuple[str, int], Rejection]:
    found = reader().rejections(report(*errors), meter="tokens", at_ms=5)
    assert len({(each.code, each.partition) for each in found}) == len(found)
    return {(each.code, each.partition): each for each in found}


def shares(*errors: dict[str, Any]) -> dict[int, tuple[int, tuple[str, ...]]]:
    """Of one code: count and identifiers by partition."""
    return {partition: (each.error_count, each.identifiers) for (_, partition), each in rejections(*errors).items()}


def test_a_report_says_what_happened_to_which_meter_when_and_who_wrote_it_down() -> None:
    (found,) = rejections(error([sample("tm-ab-3-10-20-7")])).values()
    assert found == Rejection(
        partition=3,
        instance="reporter-1",
        event_id="evt_1",
        meter="tokens",
        code="meter_event_customer_not_found",
        message="customer of tm-ab-3-10-20-7 not found",
        error_count=1,
        identifiers=("tm-ab-3-10-20-7",),
        window_start_ms=1_795_341_600_000,
        window_end_ms=1_795_341_610_000,
        at_ms=5,
    )


def test_samples_go_to_the_partitions_of_their_identifiers() -> None:
    found = shares(error([sample("tm-ab-3-0-1-0"), sample("tm-ab-3-0-1-1"), sample("tm-ab-11-0-9-0")]))
    assert found == {3: (2, ("tm-ab-3-0-1-0", "tm-ab-3-0-1-1")), 11: (1, ("tm-ab-11-0-9-0",))}


@pytest.mark.parametrize("key", ["identifier", "idempotency_key"])
def test_both_shapes_of_a_sample_and_numbered_keys_of_retries_lead_to_the_identifier(key: str) -> None:
    name = idempotency_key("tm-ab-3-0-1-0", 2)
    assert shares(error([sample(name, key)])) == {3: (1, ("tm-ab-3-0-1-0",))}


def test_corrections_and_events_sent_for_a_test_are_ours_too() -> None:
    assert shares(error([sample("tm-ab-3-c17"), sample("taximeter-test-1")])) == {3: (1, ("tm-ab-3-c17",)), 0: (1, ("taximeter-test-1",))}


def test_what_is_not_sampled_is_counted_in_partition_0() -> None:
    assert shares(error([sample("tm-ab-3-0-1-0")], count=40)) == {0: (39, ()), 3: (1, ("tm-ab-3-0-1-0",))}
    assert shares(error([sample("tm-ab-0-0-1-0")], count=40)) == {0: (40, ("tm-ab-0-0-1-0",))}
    assert shares(error([], count=40)) == {0: (40, ())}


@pytest.mark.parametrize(
    "name", ["", "somebody-elses", "tm-ab-12-0-1-0", "tm-ab-x-0-1-0", "tm-ab-3-0-1", "xtm-ab-3-0-1-0", "tm-ab-3-0-1-0x", "tm-ab-3-0-1-0.2.3"]
)
def test_what_is_not_ours_is_in_partition_0_without_identifiers(name: str) -> None:
    assert shares(error([sample(name)])) == {0: (1, ())}


def test_two_errors_about_one_identifier_are_two_errors_and_one_identifier() -> None:
    assert shares(error([sample("tm-ab-3-0-1-0"), sample("tm-ab-3-0-1-0.2")])) == {3: (2, ("tm-ab-3-0-1-0",))}


def test_a_request_with_one_event_or_with_errors_for_all_of_its_events_names_them() -> None:
    assert shares(error([sample("batch-2")])) == {9: (1, ("tm-ab-9-0-5-0",))}
    assert shares(error([sample("batch-1")] * 3)) == {1: (1, ("tm-ab-1-0-5-0",)), 4: (2, ("tm-ab-4-0-5-0", "tm-ab-4-0-5-1"))}


def test_where_only_some_events_of_a_request_failed_none_is_named_and_all_are_listed() -> None:
    (found,) = rejections(error([sample("batch-1")] * 2)).values()
    assert (found.partition, found.error_count, found.identifiers) == (0, 2, ())
    assert all(identifier in found.message for identifier in BATCHES["batch-1"])


def test_each_code_has_its_own_rejection_also_one_that_nobody_knows() -> None:
    found = rejections(error([sample("tm-ab-3-0-1-0")]), error([sample("tm-ab-3-0-1-1")], code="brand_new_code"))
    assert set(found) == {("meter_event_customer_not_found", 3), ("brand_new_code", 3)}
    assert [label_of(code) for code in (*CODES, "brand_new_code")] == [*CODES, "other"]


def test_what_stripe_calls_a_duplicate_it_has_so_it_is_counted_and_not_named() -> None:
    assert shares(error([sample("tm-ab-3-0-1-0")], code="duplicate_meter_event")) == {0: (1, ())}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": {"reason": None}},
        {"data": {"reason": {"error_types": {}}}},
        {"data": {"reason": {"error_count": 3, "error_types": [None, 1, "x"]}}},
        {"data": {"validation_start": 5, "validation_end": "soon", "reason": {"error_count": True}}},
    ],
)
def test_a_report_that_cannot_be_read_is_recorded_as_such(document: dict[str, Any]) -> None:
    (found,) = reader().rejections({"id": "evt_1", **document}, meter="", at_ms=5)
    assert (found.code, found.partition, found.event_id, found.identifiers) == (UNREADABLE, 0, "evt_1", ())
    assert found.error_count >= 1


def test_counts_written_as_text_are_counts_and_half_a_surrogate_pair_is_replaced() -> None:
    broken = {"code": "no_meter", "error_count": "12", "sample_errors": [{"error_message": "\ud800", "request": {"identifier": "tm-ab-3-0-1-0"}}]}
    document = report(error([]))
    document["data"]["reason"]["error_types"] = [broken]
    found = {each.partition: each for each in reader().rejections(document, meter="tokens", at_ms=5)}
    assert (found[0].error_count, found[3].error_count, found[3].message) == (11, 1, "?")


names = st.sampled_from(["", "x", "batch-1", "batch-2", *(f"tm-ab-{partition}-0-5-{index}" for partition in range(13) for index in range(2))])


@given(st.lists(names, max_size=20), st.integers(0, 40))
def test_counts_add_up_and_no_identifier_is_named_that_no_sample_leads_to(found_names: list[str], more: int) -> None:
    samples = [sample(name) for name in found_names]
    found = shares(error(samples, count=len(samples) + more)).items()
    assert sum(count for _, (count, _) in found) == max(1, len(samples) + more)
    allowed = {*found_names, *(identifier for name in found_names for identifier in BATCHES.get(name, ()))}
    for partition, (count, identifiers) in found:
        assert count >= len(identifiers)
        assert all(f"-{partition}-" in identifier and identifier in allowed for identifier in identifiers)


def test_what_is_recorded_is_not_missing_and_what_a_crash_left_out_is() -> None:
    found = list(rejections(error([sample("tm-ab-3-0-1-0"), sample("tm-ab-5-0-1-0")], count=9)).values())
    assert Recorded().missing(found) == found
    assert Recorded({(each.code, each.partition): each.error_count for each in found}).missing(found) == []
    assert [each.partition for each in Recorded({("meter_event_customer_not_found", 3): 1}).missing(found)] == [0, 5]
    elsewhere = Recorded({("meter_event_customer_not_found", 0): 9})
    assert elsewhere.missing(found) == [], "written by a process that could not tell the partitions"


def test_the_ledger_begins_a_rejection_as_its_readers_recognise_it() -> None:
    (found,) = rejections(error([sample("tm-ab-3-0-1-0")])).values()
    assert encode_rejection(found).startswith(b'{"format":"rejection/1"')
    assert orjson.loads(encode_rejection(found))["event_id"] == "evt_1"


def test_errors_of_a_report_beyond_those_of_its_codes_are_counted_too() -> None:
    document = {"id": "evt_1", "data": {"reason": {"error_count": 7, "error_types": [{"code": "no_meter", "error_count": 4, "sample_errors": []}]}}}
    found = reader().rejections(document, meter="tokens", at_ms=5)
    assert [(each.code, each.partition, each.error_count, each.unnamed) for each in found] == [("no_meter", 0, 4, 4), (UNREADABLE, 0, 3, 3)]


def test_what_is_counted_and_not_named_is_known_of_each_rejection() -> None:
    samples = [{"error_message": "gone", "request": {"identifier": f"tm-ab-1-0-5-{index}"}} for index in range(31)]
    document = {"data": {"reason": {"error_types": [{"code": "no_meter", "error_count": "32", "sample_errors": samples}]}}}
    found = reader().rejections(document, meter="tokens", at_ms=5)
    assert (sum(each.error_count for each in found), sum(len(each.identifiers) for each in found), sum(each.unnamed for each in found)) == (32, 31, 1)
