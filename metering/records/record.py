"""What a record of a Kafka log is to the cores: a position, the broker's time, and bytes."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self


class LogRecord(Protocol):
    """One record as read from a partition; as a client parsed it, or a Record. `timestamp` is the log append time in milliseconds."""

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


class RecordColumns(Sequence[LogRecord]):
    """Records in log order that are made one by one, when they are asked for, and say what many need without that."""

    @abstractmethod
    def offset_at(self, index: int) -> int:
        """Of one record."""

    @abstractmethod
    def offset_list(self) -> list[int]:
        """Of all."""

    @property
    @abstractmethod
    def value_bytes(self) -> int:
        """Bytes of all values."""

    @abstractmethod
    def within(self, bytes_max: int) -> int:
        """How many records from the first on have values of `bytes_max` together, or less."""

    @abstractmethod
    def joined_with(self, others: Sequence[Self]) -> "RecordColumns":
        """These, and the others of the same kind, which follow in the log."""
