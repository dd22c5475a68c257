import pytest
from kio.schema.errors import ErrorCode
from taximeter_sandbox.kafka.storage.batch import BatchHeader, BatchRefused, parse_header
from taximeter_sandbox.kafka.storage.producer_state import ProducerStates

from tests.support.broker_wire import record_batch


def _header(sequence: int, *, producer_id: int = 1, epoch: int = 0, count: int = 1) -> BatchHeader:
    return parse_header(record_batch([b"x"] * count, producer_id=producer_id, epoch=epoch, sequence=sequence))


def _remembering(*sequences: int, **options: int) -> ProducerStates:
    states = ProducerStates()
    for offset, sequence in enumerate(sequences):
        header = _header(sequence, **options)
        assert states.find_duplicate(header) is None
        states.remember(header, 100 + offset, 7)
    return states


def test_each_of_the_last_five_batches_is_known_as_a_duplicate() -> None:
    states = _remembering(0, 1, 2, 3, 4, 5)
    for sequence in (1, 2, 3, 4, 5):
        duplicate = states.find_duplicate(_header(sequence))
        assert duplicate is not None
        assert (duplicate.base_offset, duplicate.append_time_ms) == (100 + sequence, 7)
    with pytest.raises(BatchRefused) as refused:
        states.find_duplicate(_header(0))
    assert refused.value.error is ErrorCode.out_of_order_sequence_number


@pytest.mark.parametrize("sequence", [2, 3, 2**31 - 1])
def test_a_gap_is_refused(sequence: int) -> None:
    with pytest.raises(BatchRefused) as refused:
        _remembering(0).find_duplicate(_header(sequence))
    assert refused.value.error is ErrorCode.out_of_order_sequence_number


def test_a_batch_that_overlaps_a_stored_one_is_refused() -> None:
    with pytest.raises(BatchRefused):
        _remembering(0, 1).find_duplicate(_header(1, count=2))


def test_sequences_go_on_after_the_highest_number() -> None:
    states = _remembering(2**31 - 1)
    assert states.find_duplicate(_header(0)) is None
    with pytest.raises(BatchRefused):
        states.find_duplicate(_header(1))


def test_a_new_epoch_starts_at_zero_and_an_old_one_is_fenced() -> None:
    states = _remembering(0, 1)
    with pytest.raises(BatchRefused) as refused:
        states.find_duplicate(_header(2, epoch=1))
    assert refused.value.error is ErrorCode.out_of_order_sequence_number
    states.remember(_header(0, epoch=1), 200, -1)
    with pytest.raises(BatchRefused) as refused:
        states.find_duplicate(_header(2, epoch=0))
    assert refused.value.error is ErrorCode.invalid_producer_epoch
    assert states.find_duplicate(_header(1, epoch=1)) is None


def test_plain_producers_are_not_remembered() -> None:
    states = ProducerStates()
    header = parse_header(record_batch([b"x"]))
    states.remember(header, 0, -1)
    assert states.find_duplicate(header) is None
    assert states.highest_id == -1


def test_the_least_recent_producer_is_forgotten_first() -> None:
    states = ProducerStates(producers_max=2)
    for producer_id in (1, 2, 1, 3):
        states.remember(_header(0, producer_id=producer_id), producer_id, -1)
    assert states.find_duplicate(_header(0, producer_id=2)) is None
    for producer_id in (1, 3):
        assert states.find_duplicate(_header(0, producer_id=producer_id)) is not None
