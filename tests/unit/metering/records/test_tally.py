"""A tally reads back as it was written, and what is not a tally is refused."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from metering.records.chain import ChainLink
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import (
    NO_LOSSES,
    Acceptance,
    EventCounts,
    Losses,
    NotCounted,
    RecordCounts,
    Tally,
    TallyRow,
    WhyNotCounted,
    decode_outline,
    decode_tally,
    encode_tally,
)
from tests.support.metering_tallies import a_tally, an_adjustment


def test_strings_that_rows_share_are_written_once() -> None:
    shared = [TallyRow("a-long-customer", "tokens", (("model", "alpaca"),), window, 1, 1) for window in range(0, 600_000, 60_000)]
    value = encode_tally(a_tally(rows=shared))
    assert value.count(b"a-long-customer") == value.count(b"alpaca") == 1


def test_a_tally_that_does_not_account_for_its_range_cannot_be_made() -> None:
    with pytest.raises(RecordCorrupt, match="accounts for 1 records"):
        a_tally(link=ChainLink(0, 2, -1))


def an_acceptance(lost: int, **changes: Any) -> Tally:
    about = {"link": ChainLink(0, lost, -1), "records": RecordCounts(lost=lost), "events": EventCounts(), "acceptance": Acceptance("why", "who", 7)}
    return a_tally(**about | changes)


@pytest.mark.parametrize("lost", [0, 3])
def test_an_accepted_loss_reads_back_as_it_was_written(lost: int) -> None:
    tally = an_acceptance(lost, losses=Losses(5, 6, 7))
    found = decode_tally(encode_tally(tally))
    assert (found.records, found.losses, found.acceptance) == (tally.records, tally.losses, tally.acceptance)


def test_lost_records_without_an_acceptance_cannot_be_written() -> None:
    with pytest.raises(RecordCorrupt, match="nobody accepted"):
        an_acceptance(3, acceptance=None)


def test_an_acceptance_covers_what_is_lost_and_nothing_else() -> None:
    with pytest.raises(RecordCorrupt, match="nobody accepted"):
        an_acceptance(3, records=RecordCounts(singles=1, lost=2))
    with pytest.raises(RecordCorrupt, match="counts events"):
        an_acceptance(3, events=EventCounts(counted=1))


def test_a_tally_of_a_version_that_knew_of_no_losses_reads_as_one_without() -> None:
    document = orjson.loads(encode_tally(a_tally()))
    assert document.keys() & {"losses", "acceptance"} == set()
    assert "lost" not in document["records"]
    assert decode_tally(orjson.dumps(document)).losses == NO_LOSSES


def test_a_tally_of_the_old_format_is_read_and_says_that_its_horizon_is_not_known() -> None:
    document = orjson.loads(encode_tally(a_tally())) | {"format": "tally/1", "repeats": [[7, []], [9, [0, 1, 4]]]}
    del document["not_counted"]
    found = decode_tally(orjson.dumps(document))
    known = WhyNotCounted.KNOWN_NUMBER
    assert found.not_counted == [NotCounted(7, 1, 0, 0, known), NotCounted(9, 1, 0, 2, known), NotCounted(9, 1, 4, 1, known)]
    assert (found.horizon_ms, found.catalogue_definition) == (None, None)


def test_records_and_events_add_up() -> None:
    assert RecordCounts(1, 2, 3, 4, 5).total == 15
    assert EventCounts(1, 2, 3, {"a": 4, "b": 5}).total == 15


GOOD: dict[str, Any] = orjson.loads(encode_tally(a_tally(rows=[TallyRow("c", "m", (), 0, 5, 1)])))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        orjson.dumps(GOOD | {"format": "tally/3"}),
        orjson.dumps(GOOD | {"end": 2}),
        orjson.dumps(GOOD | {"rows": [[7, 0, 0, 0, 1, 1]]}),
        orjson.dumps(GOOD | {"rows": [[0, 0]]}),
        orjson.dumps(GOOD | {"records": {"surprise": 1}}),
        orjson.dumps(GOOD | {"not_counted": [[0, 1, 0, 0, "surprise"]]}),
        orjson.dumps(GOOD | {"not_counted": [[0, 1, 0, "duplicate"]]}),
        orjson.dumps(GOOD | {"format": "tally/1"}),
        *(orjson.dumps({key: value for key, value in GOOD.items() if key != gone}) for gone in GOOD),
    ],
)
def test_what_is_not_a_tally_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordCorrupt):
        decode_tally(value)


def test_an_outline_says_all_but_the_details_of_a_tally_that_adjusts_nothing() -> None:
    rows = [TallyRow("cus_1", "tokens", (("model", "m"),), 0, 7, 1)]
    details: dict[str, Any] = {"rows": rows, "ranges": [("e", 0, 0)], "set_aside": [(0, (1,))], "emitter_states": []}
    tally = a_tally(losses=Losses(3, 4, 5), **details)
    outline = decode_outline(encode_tally(tally))
    assert (outline.rows, outline.ranges, outline.set_aside) == ([], [], [])
    assert replace(outline, **details) == decode_tally(encode_tally(tally))
    adjusting = an_adjustment(rows, offset=9, end=3)
    assert decode_outline(encode_tally(adjusting)) == decode_tally(encode_tally(adjusting))
    assert decode_outline(encode_tally(adjusting)).rows == rows
