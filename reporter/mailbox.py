"""Where the outcomes of a partition's meter events go: from the dispatcher to the worker that writes them down."""

from collections.abc import Callable, Sequence

from metering.records.ledger_records import Settlement


class Mailbox:
    """Settlements of one partition, in order, until they are written. `wake` is called when some were put in."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._settlements: list[Settlement] = []

    def __len__(self) -> int:
        return len(self._settlements)

    def put(self, settlements: Sequence[Settlement]) -> None:
        """Append settlements."""
        self._settlements += settlements
        self._wake()

    def first(self, count: int) -> Sequence[Settlement]:
        """The first ones, this many; they stay here."""
        return self._settlements[:count]

    def drop(self, count: int) -> None:
        """Remove the first ones, this many."""
        del self._settlements[:count]

    def clear(self) -> None:
        """Remove all."""
        self._settlements.clear()
