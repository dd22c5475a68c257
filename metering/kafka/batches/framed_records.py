"""Records as places in the bytes of their batches: one is made when it is asked for, and what is wanted of many is had without any. Pure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from metering.records.record import Record, RecordColumns

Int64s: TypeAlias = npt.NDArray[np.int64]
BytePlaces: TypeAlias = npt.NDArray[np.int32]
"""A row for each record: key_at, key_len, value_at, value_len, headers_at, headers_count. A length of -1 says that there is none."""
HeadersOf: TypeAlias = Callable[[bytes, int, int], Sequence[tuple[str, bytes | None]]]
"""The headers of a record, so many, which begin at a byte of the data."""

_VALUE_LENGTH: Final = 3
_BEGINS: Final = slice(0, None, 2)
_SIZES: Final = slice(1, None, 2)
_SMALLEST: Final = np.array([0, 0, 1], np.int32)  # of what is there: a key, a value, headers


class FramedRecords(RecordColumns):
    """Records in log order, whose bytes are in `data`. A part of them is a view. None of it may be changed."""

    __slots__ = ("_headers_of", "data", "offsets", "places", "timestamps")

    def __init__(self, data: bytes, offsets: Int64s, timestamps: Int64s, places: BytePlaces, headers_of: HeadersOf) -> None:
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

    def offset_at(self, index: int) -> int:
        """See RecordColumns."""
        return int(self.offsets[index])

    def offset_list(self) -> list[int]:
        """See RecordColumns."""
        offsets: list[int] = self.offsets.tolist()
        return offsets

    @property
    def value_sizes(self) -> Int64s:
        """Bytes of each value."""
        return np.maximum(self.places[:, _VALUE_LENGTH], 0).astype(np.int64)

    @property
    def value_bytes(self) -> int:
        """See RecordColumns."""
        return int(self.value_sizes.sum())

    def within(self, bytes_max: int) -> int:
        """See RecordColumns."""
        return int(self.value_sizes.cumsum().searchsorted(bytes_max, side="right"))

    def joined_with(self, others: Sequence[Self]) -> "FramedRecords":
        """See RecordColumns. Where not all have the same data, each data is copied once."""
        if not others:
            return self
        parts = (self, *others)
        data, places = self.data, np.concatenate([part.places for part in parts])
        if any(part.data is not data for part in others):
            data, moves = self._data_with(others)
            places[:, _BEGINS] += np.repeat(moves, [len(part) for part in parts])[:, np.newaxis]
        return FramedRecords(
            data,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            places,
            self._headers_of,
        )

    def _data_with(self, others: Sequence["FramedRecords"]) -> tuple[bytes, BytePlaces]:
        """The data of all, without what is before the first of these records; and how far the places of each part move."""
        begins = self.places[:, _BEGINS][self.places[:, _SIZES] >= _SMALLEST]
        begin = int(begins.min(initial=len(self.data)))
        pieces, move_of, size = [memoryview(self.data)[begin:]], {id(self.data): -begin}, len(self.data) - begin
        for part in others:
            if id(part.data) not in move_of:
                move_of[id(part.data)] = size
                pieces.append(memoryview(part.data))
                size += len(part.data)
        return b"".join(pieces), np.array([move_of[id(part.data)] for part in (self, *others)], np.int32)

    def _made(self, offset: int, timestamp: int, place: Sequence[int]) -> Record:
        key_at, key_length, value_at, value_length, headers_at, headers = place
        data = self.data
        key = data[key_at : key_at + key_length] if key_length >= 0 else None
        value = data[value_at : value_at + value_length] if value_length >= 0 else None
        return Record(offset, timestamp, key, value, self._headers_of(data, headers_at, headers) if headers else ())
