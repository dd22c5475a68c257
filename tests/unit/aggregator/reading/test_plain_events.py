"""The quick way to read single events says what the long way says, or leaves them to it."""

from collections.abc import Sequence

import numpy as np
import pytest
from taximeter_emitter.wire.event import parse_event

from aggregator.reading import plain_events
from aggregator.reading.plain_events import PLAIN_EVENT_BYTES_MAX, PLAIN_EVENTS_MAX, first_run
from metering.records.record import Record
from tests.support.aggregator_plain_events import GOOD, LATEST_MS, document, events_of, plain_events_of, read, records_of


def test_one_event_that_is_not_plain_does_not_send_its_neighbours_the_long_way() -> None:
    values = [document({"id": f"q-{number}"}) for number in range(9)]
    values[4] = b"{"
    found = events_of(plain_events_of(), values)
    assert [place for place, facts in enumerate(found) if facts is None] == [4]


def test_events_out_of_their_time_go_the_long_way() -> None:
    time_ms = parse_event(GOOD, arrival_ms=0).time_ms
    values = [document({"id": str(number)}) for number in range(4)]
    earliest, latest = np.array([0, time_ms, time_ms + 1, 0]), np.array([time_ms, LATEST_MS, LATEST_MS, time_ms - 1])
    odd, columns = plain_events_of().read(records_of(values), earliest, earliest, latest)
    assert list(odd) == [2, 3]
    assert columns is not None
    assert len(columns) == 2


def test_the_order_of_dimensions_makes_no_difference_to_what_an_event_is_known_by() -> None:
    other = document({"dimensions": {"model": "a", "region": "eu"}})
    first, second = events_of(plain_events_of(), [document({}), other])
    assert first == second


def test_a_full_memory_learns_nothing_and_forgets_all_when_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_events, "KNOWN_MAX", 2)
    plain = plain_events_of()
    values = [document({"customer": customer}) for customer in "abcab"]
    assert [found is not None for found in events_of(plain, values)] == [True, True, False, True, True]
    full = [plain.is_full]
    plain.forget()
    full.append(plain.is_full)
    assert full == [True, False]
    assert [found is not None for found in events_of(plain, values[2:])] == [True, True, False]


def test_the_longest_series_is_known_with_eight_for_each_dimension() -> None:
    plain = plain_events_of()
    read(plain, records_of([document({"customer": "c" * 5}), document({"customer": "c" * 3})]))
    assert plain.longest == 5 + len("regioneumodela") + 16


def run_lengths(records: Sequence[Record]) -> int:
    return len(first_run(records, 0))


def run_of(values: Sequence[bytes | None]) -> list[Record]:
    return [Record(offset, 0, None, value) for offset, value in enumerate(values)]


def test_a_run_ends_before_a_record_that_cannot_be_a_plain_event() -> None:
    for other in (None, b'{"taximeter":1}', b"x" * (PLAIN_EVENT_BYTES_MAX + 1)):
        assert run_lengths(run_of([b"{}", b"{}", other, b"{}"])) == 2
        assert run_lengths(run_of([other, b"{}"])) == 0


def test_a_run_goes_on_over_offsets_without_a_record_ends_before_a_step_back_and_where_it_is_long_enough() -> None:
    records = run_of([b"{}"] * (PLAIN_EVENTS_MAX + 10))
    assert run_lengths(records) == PLAIN_EVENTS_MAX
    assert run_lengths([*records[:3], *records[4:9]]) == 8
    assert run_lengths([*records[:3], *records[2:]]) == 3
    assert len(first_run(records, PLAIN_EVENTS_MAX)) == 10
