"""The native reader: usage events out of what a Kafka broker sent, as columns. It decides nothing.

Whatever it does not read exactly as the plain way would, it leaves to that way. Errors: ValueError for arguments that do not fit together,
RuntimeError if the reader itself fails or one EventReader is used by two threads at once. Nothing blocks; other threads run while much is read.
"""

from collections.abc import Callable, Sequence
from typing import Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

Column: TypeAlias = npt.NDArray[np.int64]
Places: TypeAlias = npt.NDArray[np.int32]

Framed: TypeAlias = tuple[Column, Column, Places, int, int, str | None]
"""Offsets; timestamps in ms; places; the byte and the offset to go on at; why the batch there was not framed, or None.

A row of places: byte and length of the key (-1: null), byte and length of the value (-1: null), byte and number of the headers.
"""

Read: TypeAlias = tuple[
    npt.NDArray[np.int8],
    Column,
    Column,
    Column,
    npt.NDArray[np.bool_],
    npt.NDArray[np.uint64],
    Column,
    Column,
    list[str],
    Column,
    Column,
]
"""Of each record, how it was read (0: the long way must, 1: a single event, 2: a batch).

Of each event: its record, series, time in ms, whether it is stamped, the two halves of its fingerprint (zeros: none); usage[field, event].
Of each batch: its record, emitter, first number and how many events it has.
"""

def frame(data: bytes, at: int, from_offset: int) -> Framed:
    """Where the records of whole batches are, from byte `at` on, up to the first batch that is not an ordinary one.

    Reasons: "compressed", "control", "transactional", "checksum", "form", "damaged", "too-many". A batch that is cut off is none.
    """

def frame_batch(data: bytes, from_offset: int) -> Framed:
    """The same for one batch, which is all of `data`, in clear, and was checked before."""

def headers(data: bytes, at: int, count: int) -> tuple[tuple[str, bytes | None], ...]:
    """Names and values of `count` headers from byte `at` on. A name that is not UTF-8 has its odd bytes as `\\xff`."""

@final
class EventReader:
    """Reads the events of one partition.

    `usage_fields`: the catalogue's, 64 at most; an event with another goes the long way. `learn`: the number of the series of a customer with
    dimensions, from their JSON texts, or -1 to have the record read the long way. `printable`: a bit for each code point that Python calls
    printable, the lowest first; asked for once.
    """

    def __new__(cls, partition: int, usage_fields: Sequence[str], learn: Callable[[bytes, bytes], int], printable: Callable[[], bytes]) -> Self: ...
    def read(self, data: bytes, timestamps: Column, places: Places, start: int, end: int) -> Read:
        """What the records from `start` to `end` say. `timestamps` and `places` are those of `frame`."""

    def forget(self) -> None:
        """Forgets the numbers of all series."""

    def __len__(self) -> int:
        """How many pairs of texts have a number, 100,000 at most."""
