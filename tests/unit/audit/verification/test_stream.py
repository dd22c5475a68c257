"""Records are taken up to an offset, and what is behind it is not asked for: it may be damaged."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from audit.verification.partition import Stream
from metering.records.fail_closed import RecordUnreadable
from metering.records.record import Record

DAMAGED = range(4, 6)


async def records(start: int) -> AsyncGenerator[Sequence[Any]]:
    """Three at a time, of eight; those at DAMAGED cannot be read."""
    at = start
    while at < 8:
        if at in DAMAGED:
            raise RecordUnreadable("damaged")
        piece = [offset for offset in range(at, min(at + 3, 8)) if offset not in DAMAGED and (offset < 4 or at > 5)]
        yield [Record(offset, 0, None, b"") for offset in piece]
        at = piece[-1] + 1


async def taken(stream: Stream, end: int) -> list[int]:
    return [record.offset async for record in stream.before(end)]


async def test_damaged_records_are_passed_over_and_those_around_them_are_read() -> None:
    async with aclosing(Stream(records, 0)) as stream:
        assert await taken(stream, 2) == [0, 1]
        assert await taken(stream, 4) == [2, 3]
        await stream.pass_over(6)
        assert await taken(stream, 7) == [6]
        assert await taken(stream, 8) == [7]
        assert await taken(stream, 8) == []


async def test_without_that_they_are_an_error() -> None:
    async with aclosing(Stream(records, 0)) as stream:
        with pytest.raises(RecordUnreadable):
            await taken(stream, 6)


async def test_what_was_fetched_already_is_passed_over_too() -> None:
    async with aclosing(Stream(records, 0)) as stream:
        assert await taken(stream, 1) == [0]
        await stream.pass_over(2)
        assert await taken(stream, 4) == [2, 3]


async def test_what_is_asked_for_may_end_with_offsets_without_a_record_before_the_damage() -> None:
    async def with_marker(start: int) -> AsyncGenerator[Sequence[Any]]:
        """Offsets 0 and 1, a marker at 2, damage at 3, and 4."""
        for offset in range(start, 5):
            if offset == 3:
                raise RecordUnreadable("damaged", offset=3)
            if offset != 2:
                yield [Record(offset, 0, None, b"")]

    async with aclosing(Stream(with_marker, 0)) as stream:
        assert await taken(stream, 3) == [0, 1]
        with pytest.raises(RecordUnreadable):
            await taken(stream, 4)
    async with aclosing(Stream(with_marker, 0)) as stream:
        assert await taken(stream, 3) == [0, 1]
        await stream.pass_over(4)
        assert await taken(stream, 5) == [4]
