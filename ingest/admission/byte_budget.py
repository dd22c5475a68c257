"""How much may be under way at once, in bytes. Pure."""

from types import TracebackType
from typing import Self


class Admission:
    """Counts bytes that were let in and not yet let go: request bodies, and batches that Kafka has not acknowledged."""

    __slots__ = ("bytes_max", "in_flight")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.in_flight = 0

    def admit(self, size: int) -> bool:
        """Let so many bytes in, if there is room for them."""
        if self.in_flight + size > self.bytes_max:
            return False
        self.in_flight += size
        return True

    def reserve(self) -> "Reservation":
        """Room for one request; released when its `with` block ends."""
        return Reservation(self)

    def charge(self, size: int) -> None:
        """Count bytes that came of what was let in already; they may pass the bound, and keep others out until they are released."""
        self.in_flight += size

    def release(self, size: int) -> None:
        """Let go of bytes that were admitted or charged."""
        self.in_flight -= size
        assert self.in_flight >= 0, "more bytes were released than let in"


class Reservation:
    """The bytes that one request may take up."""

    __slots__ = ("_admission", "_size")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size = 0

    def grow_to(self, size: int) -> bool:
        """Hold so many bytes from now on, if there is room; it never shrinks."""
        more = size - self._size
        if more > 0:
            if not self._admission.admit(more):
                return False
            self._size = size
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._admission.release(self._size)
