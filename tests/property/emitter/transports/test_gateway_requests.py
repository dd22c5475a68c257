"""Whatever a gateway answers: each batch is done once, of each partition in order, and an answer is read alike in whatever pieces it comes."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.transports.gateway_requests import REQUESTS_MAX, GatewayRequests, WaitingBatch
from taximeter_emitter.transports.http_answer import BadAnswer, HttpAnswer, read_answer

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 4), st.integers(0, 1)),
        st.tuples(st.just("send"), st.just(0), st.just(0)),
        st.tuples(st.just("settle"), st.integers(0, 7), st.integers(0, 3)),
    ),
    max_size=80,
)


def play(script: list[tuple[str, int, int]], loop: asyncio.AbstractEventLoop) -> None:
    requests, now = GatewayRequests(batches_max=3, bytes_max=100), 0.0
    under_way: list[list[WaitingBatch]] = []
    put: defaultdict[int, list[WaitingBatch]] = defaultdict(list)
    done: defaultdict[int, list[WaitingBatch]] = defaultdict(list)

    def send() -> None:
        batches = requests.next(now)
        if batches:
            assert len({batch.secret for batch in batches}) == 1
            assert len(batches) <= 3
            sent = [batch.partition for one in under_way for batch in one]
            assert not {batch.partition for batch in batches} & set(sent)
            under_way.append(batches)

    def settle(which: int, failing: int) -> None:
        batches = under_way.pop(which % len(under_way))
        # Of a partition, what was not acknowledged is the end of what was sent: a gateway passes on in order.
        again = [batch for batch in batches if batch.partition == failing]
        for batch in batches:
            if batch not in again:
                done[batch.partition].append(batch)
        requests.settle(batches, again=again, not_before=now + 1)

    for kind, first, second in script:
        now += 0.3
        if kind == "put":
            batch = WaitingBatch(first, b"x" * 20, "ab"[second], loop.create_future())
            put[first].append(batch)
            requests.put(batch)
        elif kind == "send" and len(under_way) < REQUESTS_MAX:
            send()
        elif under_way:
            settle(first, second)
    for _ in range(200):
        now += 2
        send()
        if under_way:
            settle(0, -1)
    assert not requests
    assert not requests.everything()
    assert done == put


@given(STEPS)
def test_every_batch_is_done_in_the_order_of_its_partition(script: list[tuple[str, int, int]]) -> None:
    loop = asyncio.new_event_loop()
    try:
        play(script, loop)
    finally:
        loop.close()


def test_a_partition_that_fails_does_not_take_all_requests() -> None:
    loop = asyncio.new_event_loop()
    try:
        requests = GatewayRequests(batches_max=64, bytes_max=10**6)
        for partition in range(6):
            requests.put(WaitingBatch(partition, b"x", "s", loop.create_future()))
        first = requests.next(0.0)
        requests.settle(first, again=first[:5], not_before=1.0)
        assert requests.next(0.5) == []
        assert requests.wait_seconds(0.5) == 0.5
        assert [len(requests.next(1.0)) for _ in range(REQUESTS_MAX)] == [1, 1, 1, 0]
        requests.put(WaitingBatch(5, b"x", "s", loop.create_future()))
        assert [batch.partition for batch in requests.next(1.0)] == [5]
    finally:
        loop.close()


HEADS = st.sampled_from(
    [
        b"HTTP/1.1 202 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 202 OK\r\nX: y\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 202 OK\r\nRetry-After: 3\r\n\r\nhello",
    ]
)


@given(HEADS)
def test_an_answer_is_read_when_it_is_whole_and_not_before(sent: bytes) -> None:
    found = [read_answer(sent[:end], is_over=False) for end in range(len(sent))]
    assert found == [None] * len(sent)
    whole = read_answer(sent, is_over=True)
    assert whole is not None
    assert (whole.status, whole.body) == (202, b"hello")
    assert whole.document == {}


@given(st.one_of(st.binary(max_size=60), st.builds(bytes.__add__, HEADS, st.binary(max_size=20))), st.booleans())
def test_any_bytes_are_an_answer_or_none_or_refused(sent: bytes, is_over: bool) -> None:
    with suppress(BadAnswer):
        assert isinstance(read_answer(b"HTTP/1.1 2" + sent, is_over=is_over), HttpAnswer | None)
