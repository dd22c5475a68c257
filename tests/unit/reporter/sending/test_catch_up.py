"""How long what waits will take: at the pace of busy time, whatever the idle time between was."""

import math

from reporter.sending.catch_up import CatchUp


def looked(*looks: tuple[float, int, int]) -> CatchUp:
    catch_up = CatchUp()
    for now, answered, waiting in looks:
        catch_up.look(now, answered=answered, waiting=waiting)
    return catch_up


def test_nothing_waits_and_nothing_is_to_be_caught_up() -> None:
    assert looked().seconds(0, allowed_per_s=10) == 0.0


def test_before_there_is_a_pace_it_is_the_rate_that_is_allowed() -> None:
    assert looked((0, 0, 5), (9, 9, 5)).seconds(100, allowed_per_s=10) == 10.0


def test_then_it_is_the_pace_that_was_seen() -> None:
    assert looked((0, 0, 500), (20, 40, 460)).seconds(460, allowed_per_s=1000) == 230.0


def test_idle_time_makes_no_pace_slower() -> None:
    subject = looked((0, 0, 50), (20, 40, 10), (25, 50, 0), (4000, 50, 0), (4000.5, 51, 10))
    assert subject.seconds(20, allowed_per_s=1000) == 20 * 25.5 / 51


def test_when_nothing_gets_through_for_a_minute_nobody_can_say_when() -> None:
    looks = [(float(second), 1000, 50) for second in range(100)]
    assert math.isinf(looked(*looks).seconds(50, allowed_per_s=1000))


def test_what_was_a_minute_ago_is_forgotten_when_it_gets_through_again() -> None:
    looks = [(float(second), 0, 50) for second in range(600)] + [(600.0 + second, 10 * second, 50) for second in range(1, 121)]
    assert looked(*looks).seconds(50, allowed_per_s=1000) == 5.0
