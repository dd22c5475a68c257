"""A few bad events pass; bad events as the main output stop the partition."""

import pytest

from aggregator.core.dead_letter_limits import DeadLetterGuard, DeadLetterLimits, TooManyDeadLetters


def guard(run: int = 1_000_000, percent: int = 100, sample: int = 100) -> DeadLetterGuard:
    return DeadLetterGuard(DeadLetterLimits(run, percent, sample))


def test_a_run_of_bad_events_stops_the_partition_and_one_good_event_ends_a_run() -> None:
    subject = guard(run=3)
    for _ in range(5):
        subject.note(3, 3)
        subject.note(1, 0)
    subject.note(3, 3)
    with pytest.raises(TooManyDeadLetters, match="4 events in a row"):
        subject.note(1, 1)


def test_a_batch_that_is_partly_good_ends_a_run() -> None:
    subject = guard(run=3)
    subject.note(3, 3)
    subject.note(10, 9)
    subject.note(3, 3)


def test_too_large_a_share_of_recent_events_stops_the_partition() -> None:
    subject = guard(percent=50, sample=100)
    for _ in range(49):
        subject.note(2, 1)
    subject.note(1, 0)
    subject.note(2, 1)
    with pytest.raises(TooManyDeadLetters, match="51 of the last 101 events"):
        subject.note(2, 2)


def test_the_share_is_only_judged_over_a_whole_sample() -> None:
    subject = guard(percent=10, sample=100)
    for _ in range(49):
        subject.note(2, 1)


def test_what_was_bad_long_ago_does_not_count() -> None:
    subject = guard(percent=50, sample=100)
    for _ in range(20):
        for _ in range(45):
            subject.note(1, 1)
        for _ in range(60):
            subject.note(1, 0)
        for _ in range(100):
            subject.note(1, 0)
