"""Who an event belongs to is part of what it is: no customer's events meet another's."""

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.event import fingerprint

from aggregator.core.pending_tally import Cut
from metering.records.record import Record
from tests.support.aggregator_counters import count_many, counter, cut
from tests.support.aggregator_records import START_MS

IDS = [str(number) for number in range(40)]
TIME = "2026-05-28T20:26:40Z"  # START_MS


def single(customer: str, event_id: str, quantity: int) -> bytes:
    usage = {"input": quantity}
    return orjson.dumps({"id": event_id, "source": "s", "time": TIME, "customer": customer, "usage": usage, "dimensions": {}})


def batch(emitter: str, customer: str, ids: bytes, quantity: int) -> bytes:
    """Of events with these fingerprints."""
    count = len(ids) // 16
    columns = {"at": [0] * count, "time": [0] * count, "usage": {"input": [quantity] * count}}
    return encode_batch(Batch(emitter, 0, 0, count, [customer], [()], [0], base_time_ms=START_MS, ids=ids, **columns))  # type: ignore[arg-type]  # by name


FINGERPRINTS = b"".join(fingerprint("s", event_id) for event_id in IDS)


def records(*values: bytes) -> list[Record]:
    return [Record(offset, START_MS, None, value, ()) for offset, value in enumerate(values)]


def counted(*values: bytes) -> Cut:
    """What becomes of these records, all at once and one by one."""
    outcomes = []
    for lengths in ([], [1] * len(values)):
        subject = counter()
        count_many(subject, records(*values), lengths, 10**9)
        outcomes.append(cut(subject))
    assert sorted(outcomes[0].tally.rows) == sorted(outcomes[1].tally.rows)
    assert outcomes[0].tally.events == outcomes[1].tally.events
    return outcomes[0]


def sums(found: Cut) -> dict[str, int]:
    return {row.customer: row.quantity for row in found.tally.rows}


@pytest.mark.parametrize("second", ["singles", "batch"])
@pytest.mark.parametrize("first", ["singles", "batch"])
def test_two_customers_with_the_same_ids_are_both_counted(first: str, second: str) -> None:
    values: list[bytes] = []
    for form, customer, quantity in ((first, "a", 1), (second, "b", 100)):
        values += (
            [single(customer, event_id, quantity) for event_id in IDS] if form == "singles" else [batch(customer, customer, FINGERPRINTS, quantity)]
        )
    found = counted(*values, *values)
    assert sums(found) == {"a": 40, "b": 4_000}
    assert (found.tally.events.counted, found.tally.events.duplicates, dict(found.tally.events.dead_lettered)) == (80, 80, {})


def test_a_conflict_is_one_customers_own() -> None:
    found = counted(single("a", "1", 1), single("b", "1", 2), single("a", "1", 3))
    assert sums(found) == {"a": 1, "b": 2}
    assert dict(found.tally.events.dead_lettered) == {"conflict": 1}


def test_fingerprints_that_a_producer_makes_up_take_nothing_from_others() -> None:
    """Whoever writes a batch may write any fingerprint into it."""
    found = counted(batch("foreign", "a", FINGERPRINTS, 7), *[single("b", event_id, 1) for event_id in IDS], batch("own", "b", FINGERPRINTS, 1))
    assert sums(found) == {"a": 280, "b": 40}
    assert found.tally.events.duplicates == 40
