"""The largest senders of what is set aside are found in bounded memory."""

import pytest
from taximeter_emitter.wire.errors import Reason

from aggregator import set_aside
from aggregator.set_aside import LargestSetAside
from metering.records.dead_letter import DeadLetter, Origin


def letter(events: int, *, source: str = "s", customers: tuple[tuple[str, int], ...] = (), reason: Reason = Reason.CONFLICT) -> DeadLetter:
    return DeadLetter("usage.events", 0, 0, 0, reason, "", "", (), events, None, None, (), Origin(source, "", customers))


def test_events_are_summed_by_reason_source_and_customer_the_most_first() -> None:
    subject = LargestSetAside()
    subject.add([letter(5, customers=(("a", 3), ("b", 1))), letter(3, customers=(("a", 3),)), letter(1, reason=Reason.BAD_BATCH)])
    assert subject.as_json() == {
        "events": 9,
        "largest": [
            {"reason": "conflict", "source": "s", "emitter": "", "customer": "a", "events": 6},
            {"reason": "bad_batch", "source": "s", "emitter": "", "customer": "", "events": 1},
            {"reason": "conflict", "source": "s", "emitter": "", "customer": "", "events": 1},
            {"reason": "conflict", "source": "s", "emitter": "", "customer": "b", "events": 1},
        ],
    }


def test_the_largest_survive_any_number_of_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_aside, "SET_ASIDE_GROUPS_MAX", 10)
    subject = LargestSetAside()
    for number in range(500):
        subject.add([letter(1, source=f"small {number}"), letter(2, source="large")])
    (largest, events), *_ = subject.largest(1)
    assert (largest.source, events) == ("large", 1_000)
    assert len(subject.largest(1_000)) == 10
