"""What the answer to an append says. The producer here is made up: no broker gives these answers on demand."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appended, Appender, LogUnavailable


@dataclass
class _Producer:
    """Answers every append so. aiokafka calls it a success, with an offset of -1, when the broker says DUPLICATE_SEQUENCE_NUMBER."""

    offset: int
    log_start_offset: int | None

    async def send_and_wait(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(0)
        return self

    @property
    def timestamp(self) -> int:
        return 1_700_000_000_000


async def append(producer: _Producer, monkeypatch: pytest.MonkeyPatch) -> Appended:
    async def started(_: Appender) -> _Producer:
        return producer

    monkeypatch.setattr(Appender, "_started", started)
    return await Appender(KafkaSettings(bootstrap_servers=("127.0.0.1:9",)), "test").append("t", 0, b"x")


# The third is the second record of a batch of which the client knows no place: its offset is -1 + 1.
@pytest.mark.parametrize(("offset", "log_start"), [(-1, -1), (-1, None), (0, -1), (7, -1)])
async def test_an_offset_that_nobody_knows_is_no_offset(offset: int, log_start: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LogUnavailable, match="does not say at which offset"):
        await append(_Producer(offset, log_start), monkeypatch)


@pytest.mark.parametrize(("offset", "log_start"), [(0, 0), (7, 3), (7, None)])
async def test_an_offset_that_is_known_is_taken(offset: int, log_start: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await append(_Producer(offset, log_start), monkeypatch) == Appended(offset, 1_700_000_000_000)
