"""Records as places in the bytes of their batches: one is made when it is asked for, and what is wanted of many is had without any. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from metering.records.integer_columns import Integers
from metering.records.record import Record

BytePlaces: TypeAlias = npt.NDArray[np.int32]
"""A row for each record: key_at, key_len, value_at, value_len, headers_at, headers_count. A length of -1 says that there is none."""
HeadersOf: TypeAlias = Callable[[bytes, int, int], Sequence[tuple[str, bytes | None]]]
"""The headers of a record, so many, which begin at a byte of the data."""

_VALUE_LENGTH: Final = 3
_BEGINS: Final = slice(0, None, 2)
_SIZES: Final = slice(1, None, 2)
_SMALLEST: Final = np.array([0, 0, 1], np.int32)  # of what is there: a key, a value, headers


class FramedRecords(Sequence[Record]):
    """Records in log order, whose bytes are in `data`. A part of them is a view. None of it may be changed."""

    __slots__ = ("_headers_of", "data", "offsets", "places", "timestamps")

    def __init__(self, data: bytes, offsets: Integers, timestamps: Integers, places: BytePlaces, headers_of: HeadersOf) -> None:
        self.data = data
        self.offsets = offsets
        self.timestamps = timestamps
        self.places = places
        self._headers_of = headers_of

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> "FramedRecords": ...
    def __getitem__(self, index: int | slice) -> "Record | FramedRecords":
        if isinstance(index, slice):
            return FramedRecords(self.data, self.offsets[index], self.timestamps[index], self.places[index], self._headers_of)
        return self._made(int(self.offsets[index]), int(self.timestamps[index]), self.places[index].tolist())

    def __iter__(self) -> Iterator[Record]:
        return map(self._made, self.offsets.tolist(), self.timestamps.tolist(), self.places.tolist())

    @property
    def value_bytes(self) -> int:
        """Bytes of all values."""
        return int(np.maximum(self.places[:, _VALUE_LENGTH], 0).sum(dtype=np.int64))

    def within(self, bytes_max: int) -> int:
        """How many records from the first on have values of `bytes_max` together, or less."""
        sizes = np.maximum(self.places[:, _VALUE_LENGTH], 0).cumsum(dtype=np.int64)
        return int(sizes.searchsorted(bytes_max, side="right"))

    def joined_with(self, others: Sequence["FramedRecords"]) -> "FramedRecords":
        """These, and the others behind them. Copies the bytes of all that have other data than these, and then of these, too."""
        parts = (self, *others)
        data, places = self.data, [part.places for part in parts]
        if any(part.data is not data for part in others):
            data, places = _moved_together(parts)
        return FramedRecords(
            data,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate(places),
            self._headers_of,
        )

    def _made(self, offset: int, timestamp: int, place: Sequence[int]) -> Record:
        key_at, key_length, value_at, value_length, headers_at, headers = place
        data = self.data
        key = data[key_at : key_at + key_length] if key_length >= 0 else None
        value = data[value_at : value_at + value_length] if value_length >= 0 else None
        return Record(offset, timestamp, key, value, self._headers_of(data, headers_at, headers) if headers else ())


def _moved_together(parts: Sequence[FramedRecords]) -> tuple[bytes, list[BytePlaces]]:
    """The data of all parts, without what is before the first record of each, and their places in it."""
    pieces, places, size = [], [], 0
    for part in parts:
        begins = part.places[:, _BEGINS][part.places[:, _SIZES] >= _SMALLEST]
        begin = int(begins.min(initial=len(part.data)))
        pieces.append(memoryview(part.data)[begin:])
        moved = part.places.copy()
        moved[:, _BEGINS] += size - begin
        places.append(moved)
        size += len(pieces[-1])
    return b"".join(pieces), places
