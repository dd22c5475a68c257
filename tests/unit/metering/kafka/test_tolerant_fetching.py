"""What is given out of a response, in both forms: all that brokers take, up to what is damaged."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.record.default_records import DefaultRecordBatch

from metering.kafka.batches import framed_response, plain_batches, responses
from metering.kafka.batches.framed_response import AsParts
from metering.kafka.batches.plain_batches import BatchUnreadable, header_of, records_of
from metering.kafka.batches.responses import AS_RECORDS, GivenForm
from metering.kafka.tolerant_fetching import _FetchedItems
from tests.support.metering_python_framer import PythonFramer
from tests.support.wire_records import COMPRESS, WireBatch, WireRecord

PLACE = TopicPartition("usage.events", 3)
ODD = WireRecord(b"k", b"odd", [(b"\xff", None)], attributes=0x80)
GOOD = WireRecord(b"k", b"good")
# A batch of three, from offset 116 on, of which the library reads the second as one at offset 118, and raises nothing.
MISREAD = bytes.fromhex(
    "0000000000000074000000700000000002a9558773000800000002ffffffffffffffff000001a21be92986ffffffffffffffffffffffffffff000000"
    "03a0800001808000808000818000818000808000bc8080800080ffffffffff3f82808080008480808000fffe82808080007b80808080001000000404"
    "fffe0100"
)


@pytest.fixture(params=["records", "parts"])
def form(request: pytest.FixtureRequest) -> GivenForm:
    return AS_RECORDS if request.param == "records" else AsParts(PythonFramer())


class Given:
    """The records of a response, one by one, in whichever form it gives them."""

    def __init__(self, form: GivenForm, data: bytes, offset: int, doubtful: set[TopicPartition], aborted: Sequence[tuple[int, int]]) -> None:
        self._form = form
        self.response = form.response(data, aborted, offset, doubtful=PLACE in doubtful)
        doubtful.discard(PLACE)
        self._items = _FetchedItems(PLACE, self.response, doubtful)

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            for part in self._form.parts([item]):
                yield from part.records

    @property
    def next_fetch_offset(self) -> int:
        return self.response.next_offset


Fetch = Callable[..., Given]


@pytest.fixture
def fetched(form: GivenForm) -> Fetch:
    def fetch(data: bytes, offset: int, doubtful: set[TopicPartition] | None = None, aborted: Sequence[tuple[int, int]] = ()) -> Given:
        return Given(form, data, offset, set() if doubtful is None else doubtful, aborted)

    return fetch


def at(offset: int, *records: WireRecord, inside: bytes | None = None) -> bytes:
    batch = WireBatch(records, base_offset=offset)
    return batch.encoded() if inside is None else batch.around(inside)


def test_records_that_the_library_cannot_read_are_given_out_with_their_neighbours_once_each(fetched: Fetch) -> None:
    found = fetched(at(0, GOOD, GOOD, ODD, GOOD) + at(4, ODD) + at(5, GOOD), 1, set())
    assert [(record.offset, record.value) for record in found] == [(1, b"good"), (2, b"odd"), (3, b"good"), (4, b"odd"), (5, b"good")]
    assert found.next_fetch_offset == 6


def test_a_record_that_the_library_misreads_without_a_word_is_given_out_as_it_is(fetched: Fetch) -> None:
    assert [record.offset for record in DefaultRecordBatch(MISREAD)] == [116, 118, 118]
    expected = [(record.offset, record.key, record.value) for record in records_of(memoryview(MISREAD), header_of(memoryview(MISREAD)))]
    assert [offset for offset, _, _ in expected] == [116, 117, 118]
    assert [(record.offset, record.key, record.value) for record in fetched(MISREAD + at(119, GOOD), 116, set())] == [*expected, (119, b"k", b"good")]
    assert [record.offset for record in fetched(MISREAD, 117, set())] == [117, 118]


def test_what_is_before_damaged_records_is_given_out_and_the_next_response_says_what_is_wrong(fetched: Fetch) -> None:
    doubtful: set[TopicPartition] = set()
    damaged = at(2, GOOD, GOOD, inside=b"\xff\xff")
    found = fetched(at(0, GOOD, GOOD) + damaged, 0, doubtful)
    assert [record.offset for record in found] == [0, 1]
    assert found.next_fetch_offset == 2
    for _ in range(3):
        with pytest.raises(BatchUnreadable, match="cut off"):
            fetched(damaged, 2, doubtful)
    assert [record.offset for record in fetched(at(4, GOOD), 4, doubtful)] == [4]
    assert not doubtful


def test_damaged_records_at_the_very_beginning_give_nothing_and_then_say_it(fetched: Fetch) -> None:
    doubtful: set[TopicPartition] = set()
    damaged = at(2, GOOD, inside=b"\xff\xff")
    found = fetched(damaged, 2, doubtful)
    assert not list(found)
    assert found.next_fetch_offset == 2
    with pytest.raises(BatchUnreadable):
        fetched(damaged, 2, doubtful)


def test_a_wrong_checksum_or_form_is_said_at_once_and_given_out_before_it_is_what_is_whole(fetched: Fetch) -> None:
    wrong = bytearray(at(1, GOOD))
    wrong[-1] ^= 1
    assert [record.offset for record in fetched(at(0, GOOD) + bytes(wrong), 0, set())] == [0]
    with pytest.raises(BatchUnreadable, match="checksum"):
        fetched(bytes(wrong), 1, set())
    with pytest.raises(BatchUnreadable, match="form 1"):
        fetched(WireBatch([GOOD], magic=1).encoded(), 0, set())


def test_what_inflates_too_far_costs_its_place_and_what_inflates_far_ends_a_response(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "BATCH_INFLATED_BYTES_MAX", 10_000)
    monkeypatch.setattr(framed_response, "BATCH_INFLATED_BYTES_MAX", 10_000)
    monkeypatch.setattr(plain_batches, "BATCH_INFLATED_BYTES_MAX", 10_000)
    half, bomb = WireRecord(None, bytes(6_000)), WireRecord(None, bytes(10_000))
    data = b"".join(WireBatch([half], number, base_offset=number).encoded() for number in COMPRESS)
    found = fetched(data, 1, set())
    assert [record.offset for record in found] == [1, 2]
    assert found.next_fetch_offset == 3
    for number in COMPRESS:
        doubtful: set[TopicPartition] = set()
        data = at(0, GOOD) + WireBatch([bomb], number, base_offset=1).encoded()
        assert [record.offset for record in fetched(data, 0, doubtful)] == [0]
        with pytest.raises(BatchUnreadable, match="inflate to more than 10,000 bytes"):
            fetched(WireBatch([bomb], number, base_offset=1).encoded(), 1, doubtful)


class Assigned:
    """What the library knows of an assigned partition."""

    active = True
    paused = False

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, _place: TopicPartition) -> "Assigned":
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position


def test_polls_of_a_few_items_go_on_where_the_last_one_ended(form: GivenForm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framed_response, "INFLATED_PART_BYTES", 1)
    data = b"".join(WireBatch([GOOD, GOOD], number, base_offset=2 * number).encoded() for number in COMPRESS)
    items = _FetchedItems(PLACE, form.response(data, (), 3, doubtful=False), set())
    assigned, polls = Assigned(3), []
    result = FetchResult(PLACE, assignment=assigned, partition_records=items, backoff=0)
    while result.has_more():
        given = [record.offset for part in form.parts(result.getall(2)) for record in part.records]
        polls.append(given)
        assert assigned.position == (given[-1] + 1 if given else 10)
    assert list(chain.from_iterable(polls)) == [3, 4, 5, 6, 7, 8, 9]
    assert len(polls) > 2
