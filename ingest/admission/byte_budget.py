"""How many bytes may be in flight at once. Pure."""

from types import TracebackType
from typing import Self


class ByteBudget:
    """Counts the bytes in flight: request bodies, and batches that Kafka has not acknowledged."""

    __slots__ = ("bytes_max", "in_flight")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.in_flight = 0

    def admit(self, size: int) -> bool:
        """Take this many bytes if there is room for them; whether there was."""
        if self.in_flight + size > self.bytes_max:
            return False
        self.in_flight += size
        return True

    def reserve(self) -> "Reservation":
        """An empty reservation for one request; what it grows to is released when its `with` block ends."""
        return Reservation(self)

    def charge(self, size: int) -> None:
        """Count bytes made from admitted ones. They may pass the bound, and then keep others out until they are released."""
        self.in_flight += size

    def release(self, size: int) -> None:
        """Give back bytes that were admitted or charged."""
        self.in_flight -= size
        assert self.in_flight >= 0, "no more bytes are released than were taken"


class Reservation:
    """The bytes that one request holds of the budget."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._size = 0

    def grow_to(self, size: int) -> bool:
        """Hold this many bytes, if there is room; whether there was. It does not shrink."""
        more = size - self._size
        if more > 0:
            if not self._budget.admit(more):
                return False
            self._size = size
        return True

    def charge(self, size: int) -> None:
        """Hold exactly this many bytes from now on: what was read takes them already, whether there is room or not."""
        self._budget.in_flight += size - self._size
        self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._budget.release(self._size)
