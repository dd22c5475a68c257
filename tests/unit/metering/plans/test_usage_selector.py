"""What a selector takes, what two of them have in common, and that its JSON means the same."""

import pytest

from metering.plans.usage_selector import EVERYTHING_SELECTED, UsageSelector, selector_from
from metering.records.fail_closed import RecordCorrupt

NARROW = UsageSelector(
    customers=frozenset({"c1"}),
    sources=frozenset({"s", "e1"}),
    meters=frozenset({"m"}),
    offsets=(
        (3, 5),
        (9, 9),
    ),
    from_ms=10,
    to_ms=20,
    event_from_ms=5,
)


def test_every_condition_must_hold_and_one_of_its_values_is_enough() -> None:
    assert [offset for offset in range(11) if NARROW.takes_record(offset, 10)] == [3, 4, 5, 9]
    assert [time for time in (9, 10, 19, 20) if NARROW.takes_record(3, time)] == [10, 19]
    assert (NARROW.takes_time(4), NARROW.takes_time(5)) == (False, True)
    assert (NARROW.takes_source("s"), NARROW.takes_source("", "e1"), NARROW.takes_source("x", "")) == (True, True, False)
    assert (NARROW.takes_customer("c1"), NARROW.takes_customer("c2"), NARROW.takes_customer(None)) == (True, False, False)
    assert (NARROW.takes_meter("m"), NARROW.takes_meter("n")) == (True, False)
    assert EVERYTHING_SELECTED.takes_customer(None)
    assert EVERYTHING_SELECTED.takes_source("")


@pytest.mark.parametrize(
    "other",
    [
        UsageSelector(customers=frozenset({"c2"})),
        UsageSelector(sources=frozenset({"t"})),
        UsageSelector(meters=frozenset({"n"})),
        UsageSelector(
            offsets=(
                (6, 8),
                (10, 10),
            )
        ),
        UsageSelector(from_ms=20),
        UsageSelector(to_ms=10),
        UsageSelector(event_to_ms=5),
    ],
)
def test_selectors_are_apart_by_any_one_condition(other: UsageSelector) -> None:
    assert NARROW.is_apart_from(other)
    assert other.is_apart_from(NARROW)
    assert not EVERYTHING_SELECTED.is_apart_from(other)


def test_selectors_that_may_share_something_are_not_apart() -> None:
    for other in (NARROW, EVERYTHING_SELECTED, UsageSelector(offsets=((5, 6),)), UsageSelector(from_ms=19), UsageSelector(event_to_ms=6)):
        assert not NARROW.is_apart_from(other)
        assert not other.is_apart_from(NARROW)


def test_its_json_means_the_same_and_an_unknown_condition_is_refused() -> None:
    assert selector_from(NARROW.as_document()) == NARROW
    assert selector_from({}).as_document() == {}
    with pytest.raises(RecordCorrupt, match="colours"):
        selector_from(NARROW.as_document() | {"colours": ["red"]})
