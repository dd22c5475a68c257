"""What is in flight, by partition."""

from taximeter_emitter.transports.in_flight import PARTITION_BYTES_MAX, InFlight


def test_a_partition_has_room_for_one_record_whatever_its_size_and_then_for_what_fits() -> None:
    flight = InFlight(12)
    assert flight.has_room(3, 10 * PARTITION_BYTES_MAX)
    flight.add(3, 100, 1.0)
    assert flight.has_room(3, PARTITION_BYTES_MAX - 100)
    assert not flight.has_room(3, PARTITION_BYTES_MAX - 99)
    assert flight.has_room(4, 10 * PARTITION_BYTES_MAX)


def test_many_partitions_have_a_smaller_part_each() -> None:
    flight = InFlight(1_000)
    flight.add(0, 1, 0.0)
    assert flight.has_room(0, 10_000)
    assert not flight.has_room(0, 100_000)


def test_one_silent_partition_is_not_all_while_others_are_acknowledged_now_and_then() -> None:
    flight = InFlight(12)
    flight.add(1, 10, 0.0)
    flight.add(2, 10, 99.0)
    flight.settle(2, 10, 99.5)
    assert not flight.all_silent(100.0, 2.0)
    assert flight.all_silent(102.0, 2.0)


def test_silence_is_of_a_partition_and_ends_with_an_acknowledgement() -> None:
    flight = InFlight(12)
    assert not flight
    flight.add(1, 10, 0.0)
    flight.add(1, 10, 4.0)
    flight.add(2, 10, 4.0)
    assert flight.silent(5.0, 2.0) == [1]
    assert flight.silent_seconds(1, 5.0) == 5.0
    assert flight.silent_seconds(7, 5.0) == 0.0
    assert not flight.all_silent(5.0, 2.0)
    assert flight.all_silent(7.0, 2.0)
    flight.settle(1, 10, 7.0)
    assert flight.silent(7.0, 2.0) == [2]
    assert not flight.all_silent(7.5, 2.0)
    flight.settle(1, 10, 8.0)
    flight.settle(2, 10, 8.0)
    assert not flight
    assert not flight.all_silent(100.0, 2.0)
    flight.add(1, 10, 50.0)
    assert flight.silent_seconds(1, 51.0) == 1.0
    flight.clear()
    assert not flight
