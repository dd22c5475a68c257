"""What a record of a Kafka log is to the cores: a position, the broker's time, and bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class LogRecord(Protocol):
    """One record as read from a partition; aiokafka's ConsumerRecord is one. `timestamp` is the log append time in milliseconds."""

    @property
    def offset(self) -> int: ...  # noqa: D102  # the class says it
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Record:
    """A LogRecord that needs no Kafka client: for simulation and tests."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
