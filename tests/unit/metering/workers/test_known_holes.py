"""What is known of offsets that hold nothing: neighbours are one hole, and what is behind the position is forgotten."""

from metering.workers.known_holes import KnownHoles


def known(*holes: tuple[int, int]) -> KnownHoles:
    found = KnownHoles()
    found.add(holes)
    return found


def test_a_hole_ends_where_the_last_of_its_neighbours_does() -> None:
    holes = known((3, 5), (5, 6))
    holes.add([(6, 9), (12, 13)])
    assert len(holes) == 2
    assert [holes.end_from(offset) for offset in (2, 3, 5, 8, 9, 12, 13)] == [2, 9, 9, 9, 9, 13, 13]


def test_what_was_passed_is_forgotten_and_nothing_else() -> None:
    holes = known((3, 5), (7, 9), (12, 13))
    holes.forget_before(9)
    assert len(holes) == 1
    assert [holes.end_from(offset) for offset in (3, 8, 12)] == [3, 8, 13]
    holes = known((3, 5))
    holes.forget_before(4)
    assert holes.end_from(4) == 5


def test_a_hole_that_is_known_already_or_goes_back_makes_nothing_a_hole_that_is_none() -> None:
    holes = known((3, 5), (7, 9), (7, 8), (4, 5), (1, 2), (8, 10))
    assert [holes.end_from(offset) for offset in (1, 3, 5, 6, 7, 9, 10)] == [1, 5, 5, 6, 10, 10, 10]
