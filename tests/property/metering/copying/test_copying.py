"""Copies of any logs, interrupted anywhere: the same offsets and times in the end, and what a record speaks of is there at any moment."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.copying.copy_rounds import COPIED_TOPICS, CopyRounds
from metering.copying.copy_target import CopyDiverged
from metering.copying.partition_copy import TopicCopy
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.topics import Topics, topics_named
from metering.records.redrive import NO_EDIT, REDRIVE_HEADER, Redrive, RedriveEnd, encode_redrive
from tests.support.metering_memory_copy import MemoryTarget, kept
from tests.support.metering_memory_log import MemoryLog, finished

EVENTS, TALLIES, LEDGER, LETTERS, CATALOGUE, CUSTOMERS = (spec.name for spec in topics_named("usage"))
IS_REDRIVE: Final = ((REDRIVE_HEADER, None),)


def grow(data: st.DataObject, log: MemoryLog, topic: str) -> None:
    """Records with times that are not in order, and offsets without one."""
    for time_ms in data.draw(st.lists(st.one_of(st.none(), st.integers(1, 10**6)), max_size=8)):
        if time_ms is None:
            log.skip(topic)
        else:
            log.append(topic, b"%d" % time_ms, at_ms=time_ms, key=data.draw(st.sampled_from((None, b"k"))))


@given(st.data())
def test_a_copy_that_is_interrupted_and_repeated_is_the_original_in_the_end(data: st.DataObject) -> None:
    source, target = MemoryLog(), MemoryTarget()
    copy = TopicCopy(source, target, "original", "copied")
    end = 0
    for _ in range(data.draw(st.integers(1, 5))):
        grow(data, source, "original")
        end = len(source.topics.get("original", []))
        source.delete_before("original", data.draw(st.integers(source.first_kept.get("original", 0), end)))
        target.arrives = lambda: data.draw(st.integers(0, 9)) > 0
        with suppress(LogUnavailable):
            finished(copy.copy(0, end))
    target.arrives = lambda: True
    finished(copy.copy(0, end))
    finished(copy.check(0))
    start = source.first_kept["original"]
    copied = kept(target.log, "copied")
    assert copied[len(copied) - (end - start) :] == kept(source, "original")
    assert len(target.log.topics.get("copied", [])) == end


def test_every_topic_is_copied() -> None:
    assert {field.name for field in fields(Topics)} == set(COPIED_TOPICS)


def test_a_foreign_record_or_a_longer_copy_is_no_copy() -> None:
    source, target = MemoryLog(), MemoryTarget()
    copy = TopicCopy(source, target, "original", "copied")
    for time_ms in (5, 6):
        source.append("original", b"a", at_ms=time_ms)
    finished(copy.copy(0, 1))
    target.log.append("copied", b"a", at_ms=7)  # the same, at another time
    with pytest.raises(CopyDiverged, match="something else than the original from offset 0 on"):
        finished(copy.copy(0, 2))
    target.log.append("copied", b"a", at_ms=7)
    with pytest.raises(CopyDiverged, match="ends at 3, and the original at 2"):
        finished(copy.copy(0, 2))


class BusyPipeline(MemoryLog):
    """One that writes on while it is copied. `needs` says of each record up to where other topics must be for it."""

    def __init__(self, data: st.DataObject) -> None:
        super().__init__()
        self.needs: dict[tuple[str, int], dict[str, int]] = {}
        self._data = data
        self.copied_letters: Callable[[], int] = lambda: 0
        self._redrive: int | None = None
        self._ended = -1

    def end(self, topic: str) -> int:
        return len(self.topics.get(topic, []))

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        for _ in range(self._data.draw(st.integers(0, 3))):
            self.work()
        return await super().bounds(topic, partition)

    def work(self) -> None:
        match self._data.draw(st.sampled_from(("event", "letter", "tally", "intent", "redrive", "version", "link"))):
            case "event":
                self.append(EVENTS, b"{}", at_ms=1)
            case "letter":
                self.append(LETTERS, b"{}", at_ms=1)
            case "version":
                self.append(CATALOGUE, b"{}", at_ms=1)
            case "link":
                self.append(CUSTOMERS, b"{}", at_ms=1)
            case "tally":
                self.write(TALLIES, b"{}", EVENTS, LETTERS, CATALOGUE)
            case "intent":
                self.write(LEDGER, b"{}", TALLIES, CUSTOMERS)
            case _:
                self.redrive()

    def write(self, topic: str, value: bytes, *needs: str, headers: tuple[tuple[str, bytes | None], ...] = ()) -> int:
        needed = {need: self.end(need) for need in needs}
        record = self.append(topic, value, at_ms=1, headers=headers)
        self.needs[topic, record.offset] = needed
        return record.offset

    def redrive(self) -> None:
        """A redrive, the events that it writes, and its end: one step a call. A person begins the next one when the end is copied."""
        if self._redrive is None and self._ended >= self.copied_letters():
            return
        if self._redrive is None:
            record = Redrive("c", 0, self.end(LETTERS), [(0, (0,))], [], [], NO_EDIT, "r", "b", 1)
            self._redrive = self.write(LETTERS, encode_redrive(record), headers=IS_REDRIVE)
        elif self._data.draw(st.booleans()):
            self.write(EVENTS, b'{"redriven": 1}', LETTERS)
        else:
            self._ended = self.write(LETTERS, encode_redrive(RedriveEnd(self._redrive)), EVENTS, headers=IS_REDRIVE)
            self._redrive = None


@given(st.data())
def test_whatever_a_copied_record_speaks_of_is_in_the_copy_at_any_moment(data: st.DataObject) -> None:
    source = BusyPipeline(data)
    left = data.draw(st.integers(0, 60))

    def arrives() -> bool:
        nonlocal left
        left -= 1
        for (topic, offset), needed in source.needs.items():
            if offset < len(target.log.topics.get(topic, [])):
                assert all(end <= len(target.log.topics.get(need, [])) for need, end in needed.items()), (topic, offset)
        return left > 0

    target = MemoryTarget(arrives)
    source.copied_letters = lambda: len(target.log.topics.get(LETTERS, []))
    topics = topics_named("usage")
    rounds = CopyRounds(source, target, original=topics, copied=topics, partitions=1)
    with suppress(LogUnavailable):
        for _ in range(3):
            finished(rounds.copy())
